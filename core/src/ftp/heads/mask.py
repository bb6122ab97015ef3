"""Hidden tokens, guessed from both sides."""

from typing import TYPE_CHECKING

from ftp.errors import Problem
from ftp.heads import HeadSpec

if TYPE_CHECKING:
    from transformers import PretrainedConfig


def refusal(config: "PretrainedConfig") -> Problem | None:
    """In an encoder-decoder the encoder alone could guess, and it has no such head."""
    if not config.is_encoder_decoder:
        return None
    return Problem(
        f"'{config.model_type}' writes with a decoder what its encoder has read; masked tokens are filled in by an encoder alone",
        "take an encoder (bert, roberta, ...), or sft for this model",
    )


HEAD = HeadSpec(
    "mask",
    "a hidden token",
    "AutoModelForMaskedLM",
    export_task="fill-mask",
    refusal=refusal,
    needs_mask_token=True,
    is_over_vocabulary=True,
    share_scored=0.2,  # 15 % are hidden
    what_is_trained="⟦...⟧ is trained: tokens that are hidden or replaced are to give the token behind →; each update draws "
    "others",
    loss_is_nats=True,
)
