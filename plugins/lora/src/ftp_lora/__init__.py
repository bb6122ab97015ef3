"""Train small low-rank adapters and leave the base weights as they are (LoRA)."""

from ftp_lora.plugin import Lora

__all__ = ["Lora"]
