"""Go on training on plain text: guess hidden tokens (masked language modelling)."""

from ftp_mlm.plugin import Mlm

__all__ = ["Mlm"]
