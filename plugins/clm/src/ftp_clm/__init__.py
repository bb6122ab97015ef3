"""Go on training on plain text: predict each next token (causal language modelling)."""

from ftp_clm.plugin import Clm

__all__ = ["Clm"]
