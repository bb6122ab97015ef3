"""Rows of single tokens in the embeddings and the output layer: which of them the checkpoint never trained, and which of them
a run trains. Heavy: imports torch.

A token that was added to a tokenizer has a row that no training has touched. Where embeddings and output layer are frozen
(adapters), such a row stays what it is: as an input it says nothing, and as an output it cannot be told from others, so that an
answer that is to end with this token never ends.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import chain

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ftp.errors import Problem, UserError, nearest
from ftp.types import Model

__all__ = ["ends", "frozen"]

SAMPLE = 8192
"""Rows, evenly spread, that a row is compared with."""
NEAR = 0.05
"""Distance below which a row is taken for the mean of all rows or for zero, as a share of the usual distance or length. Rows that
`resize_token_embeddings` made are at 0.001 of it, trained rows of small and large models at 0.3 and more."""
SAME = 0.01
"""Distance below which a row is taken for a copy of another, as a share of the usual distance from the mean."""
RARE = 0.002
"""Share of rows that may be as long as a random start is, for that length to tell a random start from trained rows."""


def untrained(net: PreTrainedModel, ids: Iterable[int]) -> dict[int, str]:
    """Those of the token ids whose row looks untrained in the embeddings or the output layer, with the reason in words."""
    reasons: dict[int, str] = {}
    wanted = sorted(set(ids))
    deviation = float(getattr(net.config.get_text_config(), "initializer_range", None) or 0.02)
    for weight in _matrices(net):
        # the output layer may have fewer rows than the embeddings
        with_row = [token for token in wanted if token < len(weight)]
        for token, reason in _reasons(weight, with_row, deviation).items():
            reasons.setdefault(token, reason)
    return reasons


def ends(net: PreTrainedModel) -> dict[str, nn.Module]:
    """The modules with a row for each token, by name: embeddings, and the output layer where it has weights of its own.

    Args:
        net: the network, in a PEFT wrapper or not.
    """
    embedding = net.get_input_embeddings()
    head = net.get_output_embeddings()
    modules = [embedding]
    if head is not None and hasattr(head, "weight") and head.weight is not embedding.weight:
        modules.append(head)
    names = {id(module): name for name, module in net.named_modules()}
    return {names[id(module)]: module for module in modules if id(module) in names}


def frozen(net: PreTrainedModel, ids: Iterable[int]) -> list[int]:
    """Those of the token ids of which a row, in the embeddings or the output layer, is not trained by this run.

    Args:
        net: the network as it is trained, with its adapter.
        ids: token ids.

    Returns:
        The ids in order.
    """
    missing: set[int] = set()
    for module in (net.get_input_embeddings(), net.get_output_embeddings()):
        if module is not None:
            missing |= set(ids) - _trained(module, ids)
    return sorted(missing)


def named_tokens(option_name: str, asked: Sequence[str], model: Model) -> list[int]:
    """The token ids that an option names: `auto` stands for those that the run uses and that are new or look untrained, `none`
    for none, and others are tokens of the tokenizer or numbers of rows.

    Args:
        option_name: as the user writes it, for messages.
    Raises:
        UserError: for what is neither a token nor the number of a row.
    """
    if tuple(asked) == ("none",):
        return []
    if tuple(asked) == ("auto",):
        return list(model.fresh_tokens)
    vocabulary = model.tokenizer.get_vocab()
    size = model.net.get_input_embeddings().weight.shape[0]
    ids: list[int] = []
    problems: list[Problem] = []
    for token in asked:
        # digits are the number of a row, unless they are a token themselves; `size` is the number of no row
        number = vocabulary.get(token, int(token) if token.isdigit() else size)
        if number < size:
            ids.append(number)
        else:
            problems.append(Problem(f"{option_name} {token}: the tokenizer has no such token, and the network no row of this "
                                    f"number (it has {size})", nearest(token, vocabulary) or "name tokens, ids, auto or none"))
    if problems:
        raise UserError(problems)
    return ids


def _trained(module: nn.Module, ids: Iterable[int]) -> set[int]:
    """The token ids whose rows in a module are trained: all, those of PEFT's trainable tokens, or none."""
    for inner in module.modules():
        indices = getattr(inner, "token_indices", None)  # as PEFT's TrainableTokensLayer has it: adapter -> ids
        if isinstance(indices, dict) and indices:
            return set(chain.from_iterable(indices.values()))
    if any(weight.requires_grad for weight in module.parameters()):
        return set(ids)
    return set()


def _matrices(net: PreTrainedModel) -> list[Tensor]:
    """[tokens, size] the weights with a row for each token; none without values (a plan), and none that are quantised."""
    matrices = []
    for module in ends(net).values():
        weight = module.weight.detach()
        if weight.ndim == 2 and weight.is_floating_point() and not weight.is_meta:
            matrices.append(weight)
    return matrices


def _reasons(weight: Tensor, ids: Sequence[int], deviation: float) -> dict[int, str]:
    """Why rows of a matrix look untrained, beside a sample of all of its rows. `deviation`: of the weights of a fresh network."""
    if not ids:
        return {}
    size = weight.shape[1]
    mean = weight.mean(0).float()
    sample = weight[:: math.ceil(len(weight) / SAMPLE)].float()
    lengths = sample.norm(dim=1)
    usual_length = float(lengths.median())
    usual_distance = float((sample - mean).norm(dim=1).median())
    if not usual_length or not usual_distance:
        return {}
    # the length of a random row of normal numbers, and five standard errors of it
    random_length = deviation * math.sqrt(size)
    margin = 5 / math.sqrt(2 * size)
    random_share = float(((lengths / random_length - 1).abs() < margin).float().mean())
    reasons: dict[int, str] = {}
    for token in ids:
        row = weight[token].float()
        length = float(row.norm())
        if float((row - mean).norm()) < NEAR * usual_distance:
            reasons[token] = "equal to the mean of all rows"
        elif length < NEAR * usual_length:
            reasons[token] = "zero"
        elif random_share < RARE and abs(length / random_length - 1) < margin:
            reasons[token] = "as a random start leaves it"
        elif _has_copy(weight, token, SAME * usual_distance):
            reasons[token] = "a copy of another row"
    return reasons


def _has_copy(weight: Tensor, token: int, distance: float) -> bool:
    """Whether another row lies within a distance of a token's."""
    row = weight[token : token + 1].float()
    # in pieces, as a copy of all rows in fp32 may be large
    distances = []
    for part in weight.split(SAMPLE):
        distances.append(torch.cdist(row, part.float(), compute_mode="donot_use_mm_for_euclid_dist")[0])
    distance_of_row = torch.cat(distances)
    distance_of_row[token] = math.inf
    return bool((distance_of_row < distance).any())
