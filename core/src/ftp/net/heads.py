"""Run a Transformers network on rows that `ftp.net.layout.lay` laid out, and read its head. Heavy: imports torch.

Heads are computed only at the slots where they are asked for, by the network's own head code: its backbone runs once, then
stands in for itself with the chosen states. Only `input_ids`, `attention_mask`, `position_ids`, `token_type_ids` and
`decoder_input_ids` reach the network; other columns are for the caller. With `decoder_input_ids` (an encoder-decoder that
writes) slots are places in those.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint

from ftp.net.layout import IGNORED, Inputs, bounds, filler_slots, first, is_packed, last, real, targets
from ftp.net.network_parts import TO_NETWORK, arguments_of, backbone_of, columns_of, is_encoder_decoder, parts_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel
    from transformers.modeling_outputs import BaseModelOutput, ModelOutput

__all__ = ["classify", "head_at", "hidden", "in_pieces", "logits_at", "output_layers", "shifts"]

LOGIT_BYTES = 256 * 2**20
"""Logits beyond this size are computed in pieces, and again in the backward pass instead of being kept."""

def _encode(net: nn.Module, inputs: Inputs) -> BaseModelOutput:
    """The output of the backbone, its hidden states flattened to [slots, size]."""
    arguments = arguments_of(net, inputs)
    output = backbone_of(net)(**arguments, return_dict=True)
    output["last_hidden_state"] = output.last_hidden_state.flatten(0, 1)
    return output


def _head(net: nn.Module, output: BaseModelOutput, states: Tensor) -> Tensor:
    """The logits that the network's own head makes of `states` [rows, tokens, size]."""
    inner = parts_of(net).inner
    backbone = backbone_of(net)
    if inner is backbone:
        raise ValueError(f"{type(inner).__name__} has no head")
    # the backbone ran once; a shallow copy of its output has other states
    output = copy(output)
    output["last_hidden_state"] = states
    if getattr(backbone, "pooler", None) is not None:
        output["pooler_output"] = backbone.pooler(states)
    # the ids are read by nobody: they say how many slots there are
    no_ids = states.new_zeros(states.shape[:2], dtype=torch.long)
    with _standing_in(backbone, output):
        answer = inner(no_ids, return_dict=True)
    return _logits(answer)


@contextmanager
def _standing_in(backbone: PreTrainedModel, output: BaseModelOutput) -> Iterator[None]:
    """For a moment the backbone answers `output` to every call."""
    own = backbone.__dict__.get("forward")
    backbone.forward = lambda *_, **__: output
    try:
        yield
    finally:
        if own is None:
            del backbone.forward
        else:
            backbone.forward = own


def _logits(answer: ModelOutput) -> Tensor:
    """The logits of an answer; those of a span head are two a token, [rows, tokens, 2]."""
    if getattr(answer, "logits", None) is None:
        return torch.stack([answer.start_logits, answer.end_logits], -1)
    return answer.logits


def whole_logits(net: nn.Module, inputs: Inputs) -> Tensor:
    """The logits of one plain padded pass, [rows, longest, ...] where there is one a token (of a decoder that writes)."""
    logits = _logits(net(**arguments_of(net, inputs)))
    # a learnt prompt adds tokens in front
    width = inputs.get("decoder_input_ids", inputs["input_ids"]).shape[1]
    return logits[:, -width:] if logits.ndim == 3 else logits


def hidden(net: nn.Module, inputs: Inputs) -> Tensor:
    """The last hidden states, without any head.

    Those of an encoder-decoder are its encoder's; those of a network with a learnt prompt are those without the prompt.

    Args:
        net: the network, in a PEFT wrapper or not.
        inputs: what `ftp.net.layout.lay` gives.

    Returns:
        `[slots, size]`, in the dtype of the network.
    """
    parts = parts_of(net)
    if parts.backbone is not None:
        return _encode(net, inputs).last_hidden_state
    if is_encoder_decoder(parts.inner):
        # packed rows have no mask, so that they are refused
        encoder = parts.inner.get_encoder()
        output = encoder(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], return_dict=True)
    else:
        output = parts.inner.base_model(**columns_of(inputs), return_dict=True)
    return output.last_hidden_state.flatten(0, 1)


def output_layers(net: nn.Module, size: int) -> list[nn.Linear]:
    """The linear layer that gives the outputs of a head, and its copies where PEFT keeps some.

    Args:
        net: the network, in a PEFT wrapper or not.
        size: the number of outputs.
    """
    inner = parts_of(net).inner
    body = set() if inner.base_model is inner else set(inner.base_model.modules())
    layers = []
    for module in inner.modules():
        if isinstance(module, nn.Linear) and module.out_features == size and module not in body:
            layers.append(module)
    return layers


def classify(net: nn.Module, inputs: Inputs) -> Tensor:
    """The logits of a sequence-classification head.

    A head named `score` (decoders) reads each row's last real token, whatever its id; others their first token.

    Args:
        net: a network with such a head, in a PEFT wrapper or not.
        inputs: what `ftp.net.layout.lay` gives.

    Returns:
        `[rows, classes]`, in the dtype of the head.
    """
    parts = parts_of(net)
    # the head at one token a row, and not at all of them
    if parts.backbone is not None and hasattr(parts.inner, "score"):
        states = _encode(net, inputs).last_hidden_state
        return parts.inner.score(states[last(inputs)])
    if not is_packed(inputs):
        laid = _to_the_left(inputs)
        if hasattr(parts.inner, "score"):
            return _scores(parts.inner.score, net, laid)
        if is_encoder_decoder(parts.inner):
            return _by_ends(net, laid, parts.inner.config.eos_token_id)
        return whole_logits(net, laid)
    # packed rows become rows of one token each, which a head takes for their first
    output = _encode(net, inputs)
    return _head(net, output, output.last_hidden_state[first(inputs)][:, None])


def _by_ends(net: nn.Module, inputs: Inputs, end: int) -> Tensor:
    """[rows, classes] what an encoder-decoder says at each row's last EOS; row by row where a text holds one of its own, as
    Transformers wants the same number in all rows of a batch."""
    counts = (inputs["input_ids"] == end).sum(1)
    if bool((counts == counts[0]).all()):
        return whole_logits(net, inputs)
    logits = []
    for row in range(len(counts)):
        single_row = {name: column[row : row + 1] for name, column in columns_of(inputs).items()}
        logits.append(whole_logits(net, single_row))
    return torch.cat(logits)


def _scores(head: nn.Module, net: nn.Module, inputs: Inputs) -> Tensor:
    """[rows, classes] a decoder's scores behind a learnt prompt, at each row's last real token.

    The network itself does not see the ids there, and would take the last token whatever it is. T5Gemma itself takes the
    token behind it in all but the longest row of a batch; this is what it says of each row alone.
    """
    seen: list[Tensor] = []
    handle = head.register_forward_hook(lambda module, arguments, output: seen.append(output))
    try:
        net(**arguments_of(net, inputs))
    finally:
        handle.remove()
    # a learnt prompt adds tokens in front
    width = inputs["input_ids"].shape[1]
    return seen[-1][:, -width:].flatten(0, 1)[last(inputs)]


def _to_the_left(inputs: Inputs) -> Inputs:
    """The same rows with their padding on the right, where heads that read the first token expect it."""
    if "position_ids" not in inputs:
        return inputs
    # real tokens first, in the order in which they are
    order = inputs["attention_mask"].argsort(dim=1, descending=True, stable=True)
    # positions of rows that begin on the left are the network's own
    names = [name for name in TO_NETWORK if name != "position_ids"]
    return {name: column.gather(1, order) for name, column in columns_of(inputs, names).items()}


@dataclass(frozen=True)
class Head:
    """The logits of a causal or masked language model at some slots, a stretch at a time: `head(start, end)`. The body ran once.

    `states` [n, size]: the hidden states at the slots; None where they cannot be taken apart from the head.
    `logits(chosen)`: [n, vocabulary] the logits of some of the slots, chosen by a slice or by their numbers [n].
    """

    states: Tensor | None
    logits: Callable[[slice | Tensor], Tensor]

    def __call__(self, start: int, end: int) -> Tensor:
        """[end - start, vocabulary]"""
        return self.logits(slice(start, end))

    def at(self, chosen: Tensor) -> Tensor:
        """[n, vocabulary] the logits of the slots with the numbers `chosen` [n] among those that the head is at."""
        return self.logits(chosen)


def head_at(net: nn.Module, inputs: Inputs, where: Tensor) -> Head:
    """The head of a language model at some slots, whose body runs once.

    Args:
        net: a causal, masked or encoder-decoder language model, in a PEFT wrapper or not.
        inputs: what `ftp.net.layout.lay` gives; with `decoder_input_ids` slots are places in those.
        where: `[n] int64` the slots.
    """
    if parts_of(net).backbone is None:
        whole = whole_logits(net, inputs).flatten(0, 1)[where]
        return Head(None, lambda chosen: whole[chosen])
    output = _encode(net, inputs)
    states = output.last_hidden_state[where]

    def logits(chosen: slice | Tensor) -> Tensor:
        states_there = states[chosen]
        return _head(net, output, _few_sizes(states_there)[None])[0, : len(states_there)]

    return Head(states, logits)


def _few_sizes(states: Tensor) -> Tensor:
    """`states` [n, size] with the first again at the end, so that heads come in few sizes as batches do: on a CPU a large
    head of a new size costs time and keeps memory, tens of megabytes for a vocabulary of a few thousand."""
    filler = filler_slots(len(states)) if states.device.type == "cpu" else 0
    return torch.cat([states, states[:1].expand(filler, -1)]) if filler else states


def in_pieces(
    net: nn.Module, count: int, piece: Callable[[int, int], tuple[Tensor, ...]], copies: int = 1
) -> tuple[Tensor, ...]:
    """What a function gives for the terms of a batch, asked for a stretch of them at a time.

    Memory does not grow with the number of terms, as logits are made again for the backward pass.

    Args:
        net: the network, whose vocabulary says how large a stretch may be.
        count: the number of terms.
        piece: `piece(start, end)` gives one or several `[end - start]` tensors for these terms.
        copies: how many logits of each term are held at once; all of a stretch take `LOGIT_BYTES` at most.

    Returns:
        The tensors of all stretches joined, `[count]` each.
    """
    vocabulary = int(parts_of(net).inner.config.get_text_config().vocab_size)
    size = max(1, LOGIT_BYTES // (4 * copies * vocabulary))  # four bytes a logit in fp32
    if count <= size:
        return piece(0, count)
    pieces: list[tuple[Tensor, ...]] = []
    for start in range(0, count, size):
        pieces.append(checkpoint(piece, start, min(start + size, count), use_reentrant=False))
    return tuple(map(torch.cat, zip(*pieces, strict=True)))


def logits_at(net: nn.Module, inputs: Inputs, where: Tensor) -> Tensor:
    """The logits of a language model at some slots, and nowhere else.

    Args:
        net: a causal, masked or encoder-decoder language model, in a PEFT wrapper or not.
        inputs: what `ftp.net.layout.lay` gives.
        where: `[n] int64` the slots.

    Returns:
        `[n, vocabulary]`, in the dtype of the network.
    """
    return head_at(net, inputs, where)(0, len(where))


def token_logits(net: nn.Module, inputs: Inputs) -> tuple[Tensor, Tensor]:
    """([tokens, classes], [rows + 1]) the logits of a token-classification head at real tokens, row after row, and
    where among them each row begins; the start and end logits [tokens, 2] of a question-answering head.

    Columns laid `beside` are brought to the same order by `real`.
    """
    return real(inputs, whole_logits(net, inputs)), bounds(inputs)


def shifts(net: nn.Module) -> bool:
    """Whether the logits at a token are those of the next one (causal) rather than its own (masked, encoder-decoder).

    Args:
        net: the network, in a PEFT wrapper or not.
    """
    inner = parts_of(net).inner
    return not type(inner).__name__.endswith("ForMaskedLM") and not is_encoder_decoder(inner)


def token_losses(net: nn.Module, inputs: Inputs, labels: Tensor) -> tuple[Tensor, Tensor]:
    """(losses [n], row numbers [n]): fp32 cross entropy in nats of every labelled token, row after row.

    `labels` are laid beside `input_ids` with -100 elsewhere; causal networks predict the next token of the same row.
    An encoder-decoder takes padded `labels` [rows, any length] for its decoder.
    """
    inner = parts_of(net).inner
    if is_encoder_decoder(inner):
        previous = inner.prepare_decoder_input_ids_from_labels(labels)
        logits = net(**arguments_of(net, inputs), decoder_input_ids=previous).logits
        row, position = (labels != IGNORED).nonzero(as_tuple=True)
        return cross_entropy(logits[row, position].float(), labels[row, position], reduction="none"), row
    where, target, row = targets(inputs, labels, shift=shifts(net))
    return losses_at(net, inputs, where, target), row


def losses_at(net: nn.Module, inputs: Inputs, where: Tensor, target: Tensor) -> Tensor:
    """[n] fp32 cross entropy in nats of the token ids `target` [n] under the logits at the slots `where` [n].

    The negative is the log probability that objectives on preferences compare. Large vocabularies are done in pieces
    of `LOGIT_BYTES`, so memory does not grow with the number of labels.
    """
    return losses_of(net, head_at(net, inputs, where), target)


def losses_of(net: nn.Module, head: Head, target: Tensor) -> Tensor:
    """The losses of `losses_at` where the network ran already."""

    def piece(start: int, end: int) -> tuple[Tensor]:
        return (cross_entropy(head(start, end).float(), target[start:end], reduction="none"),)

    return in_pieces(net, len(target), piece)[0]
