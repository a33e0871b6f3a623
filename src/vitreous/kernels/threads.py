"""How many cores torch's own operations spread over."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

_CORES = torch.get_num_threads()


def cores() -> int:
    """Cores that torch was started with, whatever its operations spread over now."""
    return _CORES


@contextmanager
def one_thread(when: bool = True) -> Iterator[None]:
    """Keep torch's operations on the core that calls them.

    For workers that have a core each, and for chains of small operations: these gain nothing from
    a second core, and lose much where it is busy, as each waits for it.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1 if when else threads)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
