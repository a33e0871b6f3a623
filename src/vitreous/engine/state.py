"""Where a search stands, and the tensors and numbers that it can be made from again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from vitreous.engine.model import ScaledModel
from vitreous.reconstruct.accumulator import Accumulator

_TENSORS = ("maps", "noise", "scale", "class_priors")
"""Those that a state always has."""


@dataclass(frozen=True)
class SearchState(ScaledModel):
    """Where one start of a search stands.

    Attributes
    ----------
    start : int
        Number of the random start, from 0.
    iteration : int
        Iterations done.
    seen : int
        Particles seen, counted with repeats.
    rings : int
        Rings that the last iteration used.
    sums : Accumulator or None
        Running sums of the M-step.
    evidence : float
        Mean log-evidence of an image: of the last mini-batch, or of the held-out particles once
        starts have been compared.
    rounds : int
        Comparisons with the other starts that it came through; one with fewer than the others
        was stopped.
    behind : float
        Of a start that was stopped: nats a held-out particle by which it fell short of the least
        likely start that went on.
    temperature : float
        Factor on the noise variance of the next mini-batch.
    junk : float
        Prior probability of an image to be junk, where several maps are searched for.
    """

    start: int
    iteration: int
    seen: int
    rings: int
    sums: Accumulator | None
    evidence: float
    rounds: int = 0
    behind: float = 0.0
    temperature: float = 1.0
    junk: float = 0.1

    def to(self, device: torch.device) -> SearchState:
        """The same state on another device."""
        sums = None if self.sums is None else self.sums.to(device)
        moved = {name: getattr(self, name).to(device) for name in _TENSORS}
        return replace(self, sums=sums, **moved)

    def among(self, numbers: list[int]) -> SearchState:
        """The state with some of the classes alone, and without sums."""
        priors = self.class_priors[numbers]
        return replace(self, maps=self.maps[numbers], class_priors=priors / priors.sum(), sums=None)

    def with_part(self, numbers: list[int], part: ScaledModel) -> SearchState:
        """The state with the maps of some of the classes, and how they share particles, as found.

        Together these classes hold what they held before.
        """
        maps, class_priors = self.maps.clone(), self.class_priors.clone()
        maps[numbers] = part.maps
        class_priors[numbers] = class_priors[numbers].sum() * part.class_priors
        return replace(self, maps=maps, class_priors=class_priors)


def state_tensors(prefix: str, state: SearchState) -> dict[str, Tensor]:
    """Tensors of a state, their names after a prefix."""
    tensors = {name: getattr(state, name) for name in _TENSORS}
    if state.sums is not None:
        tensors["data"] = torch.view_as_real(state.sums.data)
        tensors["weight"] = state.sums.weight
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def state_scalars(state: SearchState) -> dict[str, Any]:
    """What else a state holds."""
    names = (
        *("start", "iteration", "seen", "rings", "evidence"),
        *("rounds", "behind", "temperature", "junk"),
    )
    return {name: getattr(state, name) for name in names}


def state_from(
    prefix: str, tensors: Mapping[str, Tensor], scalars: Mapping[str, Any], padding: int
) -> SearchState:
    """State of :func:`state_tensors` and :func:`state_scalars`."""
    part = {k.split(".")[1]: t for k, t in tensors.items() if k.startswith(f"{prefix}.")}
    sums = None
    if "data" in part:
        sums = Accumulator(torch.view_as_complex(part["data"]), part["weight"], padding)
    held: dict[str, Any] = {name: part[name] for name in _TENSORS}
    return SearchState(sums=sums, **held, **scalars)
