"""Work on many things that need nothing of each other, shared out among the ranks of a job.

The first rank says what is done, and gets what is made; the others work for it, into its folder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

import torch.distributed as dist

from vitreous.runs.ranks import together
from vitreous.runs.workers import in_processes

T = TypeVar("T")


def several() -> bool:
    """Whether this process is one of several ranks that have found each other."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def of_first(thing: T) -> T:
    """What the first rank has, on all of them."""
    held = [thing]
    with together():
        dist.broadcast_object_list(held, 0)
    return held[0]


def in_ranks(
    work: Callable[[Any], Any], things: Sequence[Any], workers: int
) -> Iterator[tuple[int, Any]]:
    """What ``work`` gives of each thing, with its number: on the first rank; nothing on the others.

    Parameters
    ----------
    work : callable
        As the first rank has it, and so are the things: files lie where it says.
    things : sequence
        That can be pickled.
    workers : int
        Processes of each rank.

    Notes
    -----
    Every rank has every so-manieth thing.  Whenever each has done as many as it has workers, what
    was made goes to the first rank, so that a job that is stopped loses little.
    """
    work, things, workers = of_first((work, things, workers))
    rank, size = dist.get_rank(), dist.get_world_size()
    own = range(rank, len(things), size)
    results = in_processes(work, (things[number] for number in own), len(own), workers)
    most = -(-len(things) // size)
    for _ in range(-(-most // workers)):
        made = [(own[place], found) for place, found in islice(results, workers)]
        gathered: list[Any] | None = [None] * size if rank == 0 else None
        with together():
            dist.gather_object(made, gathered, 0)
        for part in gathered or []:
            yield from part
