"""Train a cross-encoder."""

from ftp_rerank.plugin import Rerank

__all__ = ["Rerank"]
