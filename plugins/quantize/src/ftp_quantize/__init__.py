"""Read the base in 4 or 8 bits, so that adapters on a large model fit in memory (QLoRA)."""

from ftp_quantize.plugin import Quantize

__all__ = ["Quantize"]
