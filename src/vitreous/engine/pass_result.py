"""What every pass over some particles gives: their poses, and the sums of its M-step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from vitreous.engine.maps import PADDING
from vitreous.reconstruct.accumulator import Accumulator, empty_accumulator, symmetrised

Best = TypeVar("Best", covariant=True)
AnyBest = TypeVar("AnyBest")


@dataclass(frozen=True)
class PassSums:
    """Sums of a pass over some particles.

    Attributes
    ----------
    cubes : Accumulator
        Friedel mates not joined yet.
    residual : tensor (groups, rings)
        Expected squared residual at a frequency, summed over the group's particles.
    count : tensor (groups,)
        Particles seen of each optics group.
    fit : tensor (groups, 2)
        Expected product of images and maps, and power of the maps, both over the noise's and
        summed over the group's particles.
    """

    cubes: Accumulator
    residual: Float[Tensor, "g rings"]
    count: Float[Tensor, " g"]
    fit: Float[Tensor, "g 2"]

    def add(self, other: PassSums) -> None:
        """Add another's to these, in place."""
        self.cubes.add(other.cubes)
        for own, more in zip(self.tensors()[2:], other.tensors()[2:], strict=True):
            own.add_(more)

    def tensors(self) -> list[Tensor]:
        """All that is added."""
        return [self.cubes.data, self.cubes.weight, self.residual, self.count, self.fit]


def no_pass_sums(maps: int, rings: int, groups: int, device: torch.device) -> PassSums:
    """Sums of no particles, out to a ring."""
    return PassSums(
        empty_accumulator(maps, rings + 1, PADDING, device),
        torch.zeros(groups, rings, device=device),
        torch.zeros(groups, device=device),
        torch.zeros(groups, 2, device=device),
    )


@dataclass(frozen=True)
class PassResult(Generic[Best]):
    """What a pass over some particles found.

    Attributes
    ----------
    best : PoseEstimates or LocalPoseEstimates
        In the order of the particles given.
    sums : Accumulator or None
        Contribution to the M-step, Friedel mates joined; None where none was asked for, and what
        follows is 0.
    residual, count, fit : tensors
        As :class:`PassSums` has them.
    """

    best: Best
    sums: Accumulator | None
    residual: Float[Tensor, "g rings"]
    count: Float[Tensor, " g"]
    fit: Float[Tensor, "g 2"]


def result_of(
    best: AnyBest, sums: PassSums, operators: Float[Tensor, "s 3 3"], *, accumulated: bool = True
) -> PassResult[AnyBest]:
    """Result of complete sums, which are used up; ``operators`` are imposed on the cubes."""
    made = None
    if accumulated:
        sums.cubes.complete()
        made = symmetrised(sums.cubes, operators)
    return PassResult(best, made, sums.residual, sums.count, sums.fit)
