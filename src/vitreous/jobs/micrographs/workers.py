"""How many micrographs a job works on at a time."""

from __future__ import annotations

import torch

from vitreous.engine.free_memory import free_memory
from vitreous.errors import OptionError
from vitreous.ops.threads import cores

_LIBRARIES = 400e6
"""Bytes that the libraries take in each process."""

_SPARED = 0.1
"""Share of the free memory that is left to other programs."""


def workers_for(given: int | None, bytes_each: float) -> int:
    """Processes: as many as asked for, or as there are cores and memory for.

    Parameters
    ----------
    given : int, optional
    bytes_each : float
        That the work on one micrograph takes at its fullest.

    Raises
    ------
    OptionError
        If less than one is asked for.
    """
    if given is not None and given < 1:
        raise OptionError(
            f"{given} is less than 1",
            where="--workers",
            hint="give the number of processes, or leave it out",
        )
    if given is not None:
        return given
    free = free_memory(torch.device("cpu"))
    room = cores() if free is None else int(free * (1 - _SPARED) / (bytes_each + _LIBRARIES))
    return max(1, min(cores(), room))
