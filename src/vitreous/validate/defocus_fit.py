"""Defocus of single particles: all offsets of a range tried on sums over rings.

An offset d adds pi lambda d k^2 to the CTF's argument, the same all round a ring: a particle's
sums over narrow rings give its likelihood for every offset at once.  How far offsets spread is
found from all particles together, so that a particle that says little stays where it was.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vitreous.validate.phase_fit import PhaseSums

_ROUNDS = 100
"""Rounds of EM over the spread of the offsets, at most."""

_SETTLED = 1e-3
"""Relative change of the spread that ends them."""

_PHASE_STEP = 0.2
"""Radians that the phase at the finest frequency moves by between two offsets tried."""

_RING_PHASE = 0.25
"""Radians that the phase of the largest offset changes by across one ring."""


@dataclass(frozen=True)
class OffsetFit:
    """Offsets of particles with what is known of them.

    Attributes
    ----------
    offset : tensor (particles,)
        Most probable one, angstrom.
    error : tensor (particles,)
        Standard deviation of its posterior, angstrom.
    mean, spread : float
        Of all particles' true offsets, angstrom.
    gain : float
        Rise of the log-likelihood of all particles over no offsets.
    """

    offset: Float[Tensor, " n"]
    error: Float[Tensor, " n"]
    mean: float
    spread: float
    gain: float


def rings_of(
    square: Float[Tensor, " p"], wavelength: float, reach: float
) -> tuple[Int[Tensor, " p"], Float[Tensor, " r"]]:
    """Ring of each pixel, even in k^2, and the mean k^2 of each ring.

    Parameters
    ----------
    square : tensor (pixels,)
        k^2 in 1/angstrom^2.
    wavelength, reach : float
        Angstrom; ``reach`` is the largest offset.
    """
    low, high = float(square.min()), float(square.max())
    count = max(8, math.ceil(math.pi * wavelength * reach * (high - low) / _RING_PHASE))
    ring = ((square - low) / (high - low) * count).long().clamp(max=count - 1)
    _, ring = ring.unique(return_inverse=True)
    members = torch.bincount(ring)
    return ring, torch.bincount(ring, square.double()).float() / members


def ring_sums(sums: PhaseSums, ring: Int[Tensor, " p"]) -> PhaseSums:
    """Sums of each image over its rings."""
    rings = int(ring.max()) + 1

    def over(values: Tensor) -> Tensor:
        total = torch.zeros(len(values), rings, dtype=values.dtype)
        return total.index_add_(1, ring, values)

    return PhaseSums(over(sums.first), over(sums.second), over(sums.information))


def offsets_tried(wavelength: float, finest: float, reach: float) -> Float[Tensor, " d"]:
    """Offsets from -reach to reach, even, 0 among them, so close that no peak is missed.

    Parameters
    ----------
    finest : float
        Largest frequency, 1/angstrom.
    """
    step = _PHASE_STEP / (math.pi * wavelength * finest**2)
    count = math.ceil(reach / step)
    return torch.linspace(-reach, reach, 2 * count + 1)


def offset_gains(
    sums: PhaseSums,
    square: Float[Tensor, " r"],
    offsets: Float[Tensor, " d"],
    wavelength: float,
) -> Float[Tensor, "n d"]:
    """Log-likelihood of each particle at each offset, over that at offset 0."""
    phase = math.pi * wavelength * square[:, None] * offsets
    waves = [torch.cos(phase) - 1, torch.sin(phase), torch.cos(2 * phase) - 1, torch.sin(2 * phase)]
    parts = [2 * sums.first.real, 2 * sums.first.imag, sums.second.real, sums.second.imag]
    return torch.cat(parts, dim=1) @ torch.cat(waves)


def _posterior(gains: Tensor, offsets: Tensor, mean: float, variance: float) -> Tensor:
    return torch.log_softmax(gains - (offsets - mean) ** 2 / (2 * variance), dim=1).exp()


def _peak(values: Tensor, offsets: Tensor) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
    """Offset of the highest value and its width, by a parabola through it and its neighbours."""
    at = values.argmax(dim=1).clamp(1, len(offsets) - 2)
    left, middle, right = (values.gather(1, (at + i)[:, None])[:, 0] for i in (-1, 0, 1))
    bend, step = (left + right - 2 * middle).clamp(max=-1e-12), offsets[1] - offsets[0]
    return offsets[at] + step * ((left - right) / (2 * bend)).clamp(-1, 1), step / (-bend).sqrt()


def fit_offsets(gains: Float[Tensor, "n d"], offsets: Float[Tensor, " d"]) -> OffsetFit:
    """Most probable offset of every particle under a normal prior fitted to all of them by EM."""
    wide, step = gains.double(), float(offsets[1] - offsets[0])
    places = offsets.double()
    mean, variance = 0.0, float(offsets[-1]) ** 2 / 4
    for _ in range(_ROUNDS):
        shares = _posterior(wide, places, mean, variance)
        mean = float((shares @ places).mean())
        before, variance = variance, float((shares @ (places - mean) ** 2).mean())
        # Below the grid's own step the sums over it mean nothing.
        variance = max(variance, (step / 2) ** 2)
        if abs(variance / before - 1) < _SETTLED:
            break
    prior = -((places - mean) ** 2) / (2 * variance)
    shares = _posterior(wide, places, mean, variance)
    width = (shares @ places**2 - (shares @ places) ** 2).clamp(min=0).sqrt()
    rise = torch.logsumexp(wide + prior, dim=1) - torch.logsumexp(prior, dim=0)
    best, narrow = _peak(wide + prior, places)
    # The grid does not resolve a sharp peak, and a parabola knows nothing of further peaks.
    error = torch.maximum(width, narrow)
    return OffsetFit(best.float(), error.float(), mean, variance**0.5, float(rise.sum()))
