"""How `load` reads weights within `quantized`. Heavy: imports torch."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from transformers import PreTrainedModel

Quantization = Mapping[str, Any]
"""A quantisation configuration of Transformers as a dictionary; its method decides which fields it has."""

_QUANTIZATION: list[Quantization] = []  # how `load` reads weights within `quantized`; the innermost counts


@contextlib.contextmanager
def quantized(config: Quantization) -> Iterator[None]:
    """Within it, `load` quantises the weights of the body as it reads them, and leaves heads and output layers as they are.

    Args:
        config: a quantisation configuration of Transformers as a dictionary; an empty one changes nothing.
    """
    _QUANTIZATION.append(config)
    try:
        yield
    finally:
        _QUANTIZATION.pop()


def current() -> Quantization:
    """The quantisation that counts now; empty outside of `quantized`."""
    return _QUANTIZATION[-1] if _QUANTIZATION else {}


def with_exceptions(quantization: Quantization, shape: PreTrainedModel) -> Quantization:
    """A quantisation that leaves out what lies beside the body (heads, output layers) and BERT's pooler, which may be new."""
    beside = [name for name, _ in shape.named_children() if name != shape.base_model_prefix]
    poolers = [name for name, _ in shape.named_modules() if name.split(".")[-1] == "pooler"]
    # bitsandbytes has a name of its own for this option; a configuration without a method is one of it
    is_bitsandbytes = quantization.get("quant_method", "bitsandbytes") == "bitsandbytes"
    option = "llm_int8_skip_modules" if is_bitsandbytes else "modules_to_not_convert"
    return {**quantization, option: sorted({*(quantization.get(option) or ()), *beside, *poolers})}
