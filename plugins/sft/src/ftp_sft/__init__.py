"""Fine-tune on conversations: learn what the assistant says (supervised fine-tuning)."""

from ftp_sft.plugin import Sft

__all__ = ["Sft"]
