"""The next token: networks that write text."""

from typing import TYPE_CHECKING

from ftp.errors import Problem
from ftp.heads import HeadSpec

if TYPE_CHECKING:
    from transformers import PretrainedConfig


def refusal(config: "PretrainedConfig") -> Problem | None:
    """A network that reads in both directions has seen the token that it is to guess."""
    if config.is_encoder_decoder or getattr(config, "is_decoder", False):
        return None
    from transformers import AutoModelForMaskedLM

    if type(config) not in AutoModelForMaskedLM._model_mapping:
        return None
    return Problem(
        f"'{config.model_type}' reads text in both directions, so it cannot be trained to write the next token",
        "take a decoder (gpt2, llama, qwen, ...), or an objective for encoders (mlm)",
    )


HEAD = HeadSpec(
    "tokens",
    "the next token",
    "AutoModelForCausalLM",
    "AutoModelForSeq2SeqLM",
    peft_task="CAUSAL_LM",
    seq2seq_peft_task="SEQ_2_SEQ_LM",
    export_task="text-generation",
    seq2seq_export_task="text2text-generation",
    example='inputs = tokenizer("a text", return_tensors="pt")\n'
    "print(tokenizer.decode(model.eval().generate(**inputs, max_new_tokens=50)[0]))\n",
    refusal=refusal,
    writes_text=True,
    is_over_vocabulary=True,
    must_be_trained=True,
    what_is_trained="⟦...⟧ is trained",
    loss_is_nats=True,
)
