"""Whether particles at their poses have a point group's symmetry about its axes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from vitreous.math.fourier import shell_index
from vitreous.reconstruct.accumulator import Accumulator, turned

_FILLED = 0.02
"""Weight of a voxel, over the mean of those that are filled, from which it counts."""


@dataclass(frozen=True)
class PosedAxes:
    """How alike two halves of the particles are, without their rotational averages.

    Attributes
    ----------
    halves : float
        Correlation of the halves as they are: what noise leaves of the most that can be had.
    turned : float
        The least of those of one with the other turned by an operator of the group.
    """

    halves: float
    turned: float


def _without_average(
    values: Complex[Tensor, "s s h"], weight: Float[Tensor, "s s h"], shell: Int[Tensor, "s s h"]
) -> Complex[Tensor, "s s h"]:
    """Values less the weighted mean of their shell."""
    sums = values.new_zeros(int(shell.max()) + 1)
    amount = torch.zeros_like(sums.real)
    sums.index_add_(0, shell.flatten(), (values * weight).flatten())
    amount.index_add_(0, shell.flatten(), weight.flatten())
    return values - (sums / amount.clamp(min=1e-30))[shell]


def correlation(a: Accumulator, b: Accumulator) -> float:
    """Of two maps in Fourier space, where both are filled, without their rotational averages.

    Voxels count by what the noise of both leaves of them, as weights w1 w2 / (w1 + w2): particles
    may be posed within an asymmetric unit, so that one map and another turned share few views.
    """
    one, other = a.weight[0], b.weight[0]
    weight = one * other / (one + other).clamp(min=1e-30)
    # Where little fell, the average of a few samples is noise divided by almost nothing.
    weight = torch.where(weight < _FILLED * weight[weight > 0].mean(), 0.0, weight)
    shell = shell_index(a.side, 3, weight.device)[..., a.side // 2 :]
    x, y = (
        _without_average(sums.data[0] / sums.weight[0].clamp(min=1e-30), weight, shell)
        for sums in (a, b)
    )
    x, y = (torch.where(weight > 0, part, 0.0) for part in (x, y))
    both, own1, own2 = (
        float((weight * (p.conj() * q).real).sum()) for p, q in ((x, y), (x, x), (y, y))
    )
    return both / max(own1 * own2, 1e-30) ** 0.5


def posed_axes(
    half1: Accumulator, half2: Accumulator, operators: Float[Tensor, "s 3 3"]
) -> PosedAxes:
    """Compare sums of slices of two halves with each other, and turned by a point group.

    Parameters
    ----------
    half1, half2 : Accumulator
        Complete, of one map and of the particles' own poses only: no mates added.
    operators : tensor (operators, 3, 3)
        Rotations of the group, identity first.
    """
    mates = [correlation(half1, turned(half2, turn)) for turn in operators[1:]]
    return PosedAxes(correlation(half1, half2), min(mates, default=1.0))
