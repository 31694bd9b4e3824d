"""Keeps freed memory in the process, so that it can be reused at once.

The C library returns large freed blocks to the system at once, and requests them again, page by page, for the next
batch; on a CPU that costs as much time as the computation in them. With glibc, these settings make it keep them.
"""

from __future__ import annotations

import ctypes
from functools import cache

# Names and numbers of malloc.h; the threshold is the largest that glibc takes.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
_KEPT_BYTES, _LARGEST_BLOCK_BYTES, _STEP_BYTES = 1 << 28, 1 << 25, 1 << 26


@cache
def keep_freed_memory() -> None:
    """Let glibc keep up to 256 MiB of freed memory, in blocks of up to 32 MiB; elsewhere do nothing."""
    try:
        library = ctypes.CDLL(None)
        library.gnu_get_libc_version  # noqa: B018 (absent from other C libraries)
        mallopt = library.mallopt
    except (OSError, AttributeError, TypeError):
        return
    mallopt(_M_MMAP_THRESHOLD, _LARGEST_BLOCK_BYTES)
    mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
    mallopt(_M_TOP_PAD, _STEP_BYTES)
