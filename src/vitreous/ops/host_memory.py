"""How the processor's memory is taken from the operating system, and given back."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable

_MMAP_THRESHOLD, _TRIM_THRESHOLD, _ARENA_MAX = -3, -1, -8
"""Parameters of mallopt(3)."""

_OWN, _KEPT = 2**28, 2**29
"""Bytes from which a block has a mapping of its own, and free bytes that a program keeps."""

_PART, _LEAST = 1 / 32, 2**25
"""Part of a job's memory that it may keep unused, and what it keeps at the least."""


def _of_glibc(name: str) -> Callable[..., int] | None:
    """A function of glibc's allocator; None where another one is at work."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None


def share_one_heap() -> None:
    """Let all threads take blocks from one heap; to be called before there are any.

    A thread's own heaps of glibc hold 64 MB at the most: larger blocks are mapped anew each time,
    and all is mapped anew once the thread's heaps were empty.
    """
    mallopt = _of_glibc("mallopt")
    if mallopt is not None:
        mallopt(_ARENA_MAX, 1)


def keep_freed_blocks(memory: float | None = None) -> None:
    """Let blocks that are freed serve again, instead of going back to the system at once.

    glibc maps each block of more than 32 MB anew, and the system clears its pages when they are
    first touched: that takes as long as a sum over them.  Other allocators are left alone.

    Parameters
    ----------
    memory : float, optional
        Most bytes that the program may take: it then keeps a small part of them only.
    """
    mallopt = _of_glibc("mallopt")
    if mallopt is not None:
        kept = _KEPT if memory is None else min(_KEPT, max(int(_PART * memory), _LEAST))
        mallopt(_MMAP_THRESHOLD, min(_OWN, kept))
        mallopt(_TRIM_THRESHOLD, kept)


def give_back_freed_blocks() -> None:
    """Give what is free back to the system, before much is taken in blocks of other sizes."""
    malloc_trim = _of_glibc("malloc_trim")
    if malloc_trim is not None:
        malloc_trim(0)
