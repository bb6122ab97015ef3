"""Memory that tensors give back stays with the process. Imports nothing heavy."""

from __future__ import annotations

import ctypes
import platform


def keep_memory() -> bool:
    """Have glibc keep the memory that tensors give back instead of asking the system for fresh pages every step; for
    this process. False where there is no glibc."""
    if platform.libc_ver()[0] != "glibc":
        return False
    trim, pad, mmap, most = -1, -2, -3, 2**30  # M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD of <malloc.h>
    libc = ctypes.CDLL(None)
    return bool(libc.mallopt(mmap, most) and libc.mallopt(trim, 2**31 - 1) and libc.mallopt(pad, 2**26))
