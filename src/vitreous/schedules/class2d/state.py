"""Where a 2D classification stands, and how it is kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from vitreous.engine.class_pass import ClassModel

_COMPLEX = ("averages", "data")


@dataclass(frozen=True)
class ClassState(ClassModel):
    """Where the mini-batches stand: the model, and besides

    Attributes
    ----------
    data, weight : tensors (classes, rings, half)
        Running sums of the M-step; of nothing at first.
    shares : tensor (classes,)
        Of the particles, over the last mini-batches.  The priors stay even: the average of a small
        class is noisy and explains its own images less well than it should, which is handicap
        enough.
    iteration : int
        Iterations done.
    rings : int
        Rings that the averages hold.
    sizes : list of lists
        Share of each class after each iteration.
    begun_anew : int
        Classes that had become small and were begun anew from large ones.
    """

    data: Complex[Tensor, "k rings half"]
    weight: Float[Tensor, "k rings half"]
    shares: Float[Tensor, " k"]
    iteration: int
    rings: int
    sizes: list[list[float]]
    begun_anew: int


_TENSORS = ("averages", "noise", "scale", "class_priors", "data", "weight", "shares")


def class_state_tensors(state: ClassState) -> dict[str, Tensor]:
    """Tensors of a state by name."""
    held = {name: getattr(state, name) for name in _TENSORS}
    return {n: torch.view_as_real(t) if n in _COMPLEX else t for n, t in held.items()}


def class_state_record(state: ClassState) -> dict[str, Any]:
    """What else a state holds."""
    return {f.name: getattr(state, f.name) for f in fields(state) if f.name not in _TENSORS}


def class_state_from(
    tensors: Mapping[str, Tensor], record: Mapping[str, Any], device: torch.device
) -> ClassState:
    """State of :func:`class_state_tensors` and :func:`class_state_record`."""
    held: dict[str, Any] = {
        name: torch.view_as_complex(tensors[name]) if name in _COMPLEX else tensors[name]
        for name in _TENSORS
    }
    return ClassState(**{name: tensor.to(device) for name, tensor in held.items()}, **record)
