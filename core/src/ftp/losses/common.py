"""What the losses of several heads share."""

from __future__ import annotations

from ftp.types import Model, Run

LONGEST_BY_DEFAULT = 1024


def row_limit(run: Run, model: Model) -> int:
    """Tokens a row at most: `--max-length` where given, else what network and tokenizer take, 1024 at most."""
    config = model.net.config
    taken = [run.settings.max_length or LONGEST_BY_DEFAULT]
    positions = getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None)
    if positions and positions > 0:
        # RoBERTa-style models count positions from pad_token_id + 1
        offset = (config.pad_token_id or 0) + 1 if config.model_type in ("roberta", "xlm-roberta", "camembert") else 0
        taken.append(int(positions) - offset)
    if 0 < (model.tokenizer.model_max_length or 0) < 10**9:
        taken.append(int(model.tokenizer.model_max_length))
    return min(taken)
