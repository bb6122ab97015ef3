"""Train all weights."""

from ftp_full.plugin import Full

__all__ = ["Full"]
