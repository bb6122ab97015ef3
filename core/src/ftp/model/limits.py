"""How many tokens a row may have."""

from __future__ import annotations

from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase


def capacity(net: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> int | None:
    """Tokens a row that the network can take at most; None where nothing says so (relative positions)."""
    config = net.config.get_text_config()
    known = [getattr(config, name, None) for name in ("max_position_embeddings", "n_positions", "max_sequence_length")]
    limit = next((int(one) for one in known if isinstance(one, int) and one > 0), None)
    for name, module in net.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding) and module.padding_idx is not None:
            limit = module.num_embeddings - module.padding_idx - 1  # positions start behind the pad token's number
    own = tokenizer.model_max_length
    if own and own < 10**9:
        return min(own, limit) if limit else int(own)
    return limit
