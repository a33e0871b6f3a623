"""Checkpoints: what a search needs to go on to the same bits."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from vitreous.engine.state import SearchState, state_from, state_scalars, state_tensors
from vitreous.runs.checkpoint import Checkpoint


def save_checkpoint(checkpoint: Checkpoint, states: list[SearchState]) -> None:
    """Write the states of all starts begun so far."""
    tensors: dict[str, Tensor] = {}
    for number, state in enumerate(states):
        tensors |= state_tensors(str(number), state)
    record = {
        "padding": next((s.sums.padding for s in states if s.sums is not None), 0),
        "states": [state_scalars(state) for state in states],
    }
    checkpoint.write(tensors, record)


def states_from(tensors: dict[str, Tensor], record: dict[str, Any]) -> list[SearchState]:
    """The states that a checkpoint holds."""
    return [
        state_from(str(number), tensors, scalars, record["padding"])
        for number, scalars in enumerate(record["states"])
    ]
