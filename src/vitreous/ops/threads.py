"""How many cores work spreads over: torch's own operations, and ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import repeat
from typing import TypeVar

import torch

T = TypeVar("T")
S = TypeVar("S")

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


def on_every_core(work: Callable[[int, int], T], count: int | None = None) -> list[T]:
    """What ``work`` gives on each core that torch's operations spread over, or on ``count``.

    It is told which core it is on, from 0, and of how many.
    """
    count = count or torch.get_num_threads()
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


def in_rounds(work: Callable[[S], T], things: Sequence[S], workers: int) -> Iterator[T]:
    """What ``work`` gives of each thing, in order, as many at a time as there are workers.

    Between the rounds all cores are the caller's.
    """
    for first in range(0, len(things), workers):
        some = things[first : first + workers]
        with one_thread(workers > 1):
            found = side_by_side(partial(_at, work, some), len(some))
        yield from found


def _at(work: Callable[[S], T], things: Sequence[S], number: int) -> T:
    return work(things[number])
