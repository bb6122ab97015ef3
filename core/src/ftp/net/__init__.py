"""How encoded rows become tensors, and how a network is run on them: `layout` (rows side by side or end to end), `heads` (what
the network and its head say at some tokens), `packing` and `packed_attention` (rows end to end that do not see one another)."""

from typing import TYPE_CHECKING

from ftp.deprecation import late_names

if TYPE_CHECKING:
    from ftp.net.packing import can_pack

__all__ = ["can_pack"]

__getattr__ = late_names(__name__, {"can_pack": "ftp.net.packing:can_pack"})
