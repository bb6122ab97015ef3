"""Optimise a language model against a reward."""

from ftp_rlhf.plugin import Rlhf

__all__ = ["Rlhf"]
