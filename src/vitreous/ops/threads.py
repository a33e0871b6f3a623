"""How many cores work spreads over: torch's own operations, and ours."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import partial
from itertools import repeat
from typing import TypeVar, cast

import torch

T = TypeVar("T")
S = TypeVar("S")

_cores = torch.get_num_threads()
_own = threading.local()


def cores() -> int:
    """Cores that a job may use, whatever torch's operations spread over now.

    A worker has its share of them.
    """
    own: int = getattr(_own, "cores", _cores)
    return own


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


def _worker(share: int, work: Callable[..., T], *args: object) -> T:
    """What a worker makes, with its share of the cores."""
    _own.cores = share
    return work(*args)


def on_every_core(work: Callable[[int, int], T], count: int | None = None) -> list[T]:
    """What ``work`` gives on each core that torch's operations spread over, or on ``count``.

    It is told which core it is on, from 0, and of how many.
    """
    count = count or torch.get_num_threads()
    if count == 1:
        return [work(0, 1)]
    with _pool(count) as pool:
        return list(pool.map(work, range(count), repeat(count)))


def in_parts(work: Callable[[slice], T], count: int) -> list[T]:
    """``work`` done for an equal part of ``count`` things on each core."""
    return on_every_core(lambda core, of: work(slice(count * core // of, count * (core + 1) // of)))


def workers_on(device: torch.device) -> int:
    """How many workers a device is shared by: one on each core, or one that has all of a GPU."""
    return cores() if device.type == "cpu" else 1


def side_by_side(work: Callable[[int], T], workers: int) -> list[T]:
    """Results of every worker, in order; each keeps torch's operations on its own core."""
    if workers == 1:
        return [work(0)]
    share = max(1, cores() // workers)
    with one_thread(), _pool(workers) as pool:
        return list(pool.map(partial(_worker, share, work), range(workers)))


def interleaved(walks: Sequence[Iterator[T]], workers: int) -> Iterator[tuple[int, T]]:
    """Steps of several walks as they are made, with the number of the walk.

    As many walks at a time as there are workers make a step, those that wait longest first; a lone
    worker goes through one after the other.
    """
    if workers == 1:
        for number, walk in enumerate(walks):
            yield from ((number, step) for step in walk)
        return
    share, end = max(1, cores() // workers), object()
    with one_thread(), _pool(workers) as pool:

        def following(number: int) -> Future[T | object]:
            return pool.submit(_worker, share, next, walks[number], end)

        running = {following(number): number for number in range(len(walks))}
        while running:
            for done in wait(running, return_when=FIRST_COMPLETED).done:
                number, step = running.pop(done), done.result()
                if step is not end:
                    running[following(number)] = number
                    yield number, cast(T, step)


def in_order(work: Callable[[S], T], things: Sequence[S], workers: int) -> Iterator[T]:
    """What ``work`` gives of each thing, in order, made by workers while the caller goes on.

    The workers are ahead of the caller by one thing at the most.
    """
    workers = min(workers, len(things))
    if workers < 2:
        yield from map(work, things)
        return
    share = max(1, cores() // workers)
    with one_thread(), _pool(workers) as pool:

        def begin(thing: S) -> Future[T]:
            return pool.submit(_worker, share, work, thing)

        running = deque(begin(thing) for thing in things[: workers + 1])
        for thing in things[workers + 1 :]:
            yield running.popleft().result()
            running.append(begin(thing))
        while running:
            yield running.popleft().result()
