"""How many cores work spreads over: torch's own operations, and ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import repeat
from typing import TypeVar

import torch

T = TypeVar("T")

_cores = torch.get_num_threads()


def cores() -> int:
    """Cores that a job may use, whatever torch's operations spread over now."""
    return _cores


@contextmanager
def limited_to(count: int | None) -> Iterator[None]:
    """Use so many cores within, in every thread; None for as many as before."""
    global _cores
    before, threads = _cores, torch.get_num_threads()
    if count is not None:
        _cores = count
        torch.set_num_threads(count)
    try:
        yield
    finally:
        _cores = before
        torch.set_num_threads(threads)


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


@contextmanager
def _pool(workers: int) -> Iterator[ThreadPoolExecutor]:
    """Threads that are waited for, unless the program is interrupted: a pass may take minutes."""
    pool, wait = ThreadPoolExecutor(workers), True
    try:
        yield pool
    except KeyboardInterrupt:
        wait = False
        raise
    finally:
        pool.shutdown(wait=wait, cancel_futures=not wait)


def on_every_core(work: Callable[[int, int], T]) -> list[T]:
    """What ``work`` gives on each core that torch's operations spread over.

    It is told which core it is on, from 0, and of how many.
    """
    count = torch.get_num_threads()
    if count == 1:
        return [work(0, 1)]
    with _pool(count) as pool:
        return list(pool.map(work, range(count), repeat(count)))


def workers_on(device: torch.device) -> int:
    """How many workers a device is shared by: one on each core, or one that has all of a GPU."""
    return cores() if device.type == "cpu" else 1


def side_by_side(work: Callable[[int], T], workers: int) -> list[T]:
    """Results of every worker, in order; each keeps torch's operations on its own core."""
    if workers == 1:
        return [work(0)]
    with one_thread(), _pool(workers) as pool:
        return list(pool.map(work, range(workers)))
