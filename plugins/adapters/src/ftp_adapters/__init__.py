"""Train small bottleneck adapters between the layers and leave the base weights as they are."""

from ftp_adapters.plugin import Adapters

__all__ = ["Adapters"]
