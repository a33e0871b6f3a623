"""Checkpoints: what a search needs to go on to the same bits."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from vitreous.jobs.checkpoint import Checkpoint
from vitreous.jobs.em.state import SearchState, state_from, state_scalars, state_tensors

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def save_checkpoint(path: Path, states: list[SearchState], config: DataclassInstance) -> None:
    """Write the states of all starts begun so far."""
    tensors: dict[str, Tensor] = {}
    for number, state in enumerate(states):
        tensors |= state_tensors(str(number), state)
    record = {
        "padding": next((s.sums.padding for s in states if s.sums is not None), 0),
        "states": [state_scalars(state) for state in states],
    }
    Checkpoint(path, config).write(tensors, record)


def load_checkpoint(path: Path, config: DataclassInstance) -> list[SearchState]:
    """Read the states back.

    Raises
    ------
    InputError
        If there is none, it is damaged, or it was made with other options.
    """
    tensors, record = Checkpoint(path, config).read()
    return [
        state_from(str(number), tensors, scalars, record["padding"])
        for number, scalars in enumerate(record["states"])
    ]
