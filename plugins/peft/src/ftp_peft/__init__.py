"""Train with any other method of the PEFT library, by its name and with its own options."""

from ftp_peft.plugin import Peft

__all__ = ["Peft"]
