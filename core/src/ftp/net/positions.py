"""For how many tokens of a row a network has positions."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel

POSITIONS = ("max_position_embeddings", "n_positions", "max_sequence_length")
"""What configurations call the number of a network's positions."""


def tokens_that_fit(net: PreTrainedModel) -> int | None:
    """Tokens of a row for which a network has positions; None where it has no limit of its own.

    That is what its configuration says, less the positions that no token of a row gets: those before `first_position`, and
    those of a learnt prompt.
    """
    config = net.config.get_text_config()
    for name in POSITIONS:
        positions = getattr(config, name, None)
        if isinstance(positions, int) and positions > 0:
            return positions - _unused_positions(net) - virtual_tokens(net)
    return None


def first_position(table: nn.Module | None) -> int:
    """The position of a row's first token in a table of position embeddings (None: there is no table).

    RoBERTa and its kin (MPNet, Longformer, Data2Vec, ...) count from behind the padding index, which is a row of the table.
    """
    padding = getattr(table, "padding_idx", None)
    return 0 if padding is None else int(padding) + 1


def virtual_tokens(net: PreTrainedModel) -> int:
    """Virtual tokens of a learnt prompt (PEFT), which take positions of every row."""
    configs = (getattr(net, "peft_config", None) or {}).values()
    return sum(getattr(config, "num_virtual_tokens", None) or 0 for config in configs)


def _unused_positions(net: PreTrainedModel) -> int:
    """Positions before that of the first token. Adapters may wrap the table, so its name can stand anywhere in the path."""
    tables = [module for name, module in net.named_modules() if "position_embeddings" in name.split(".")]
    return max(map(first_position, tables), default=0)
