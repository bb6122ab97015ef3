"""Train vectors of texts."""

from ftp_embed.plugin import SAMPLE, Embed

__all__ = ["SAMPLE", "Embed"]
