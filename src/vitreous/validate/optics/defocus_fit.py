"""Defocus of single particles: all offsets of a range tried on sums over rings.

An offset d adds pi lambda d k^2 to the CTF's argument, the same all round a ring: a particle's
sums over narrow rings give its likelihood for every offset at once.  How far offsets spread is
found from all particles together, so that a particle that says little stays where it was.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.optimize import minimize
from torch import Tensor

from vitreous.validate.optics.phase_fit import PhaseSums

_AT_ONCE = 20_000
"""Particles, at most, that the spread of the offsets is found from and that memory holds."""

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
        return values.new_zeros(len(values), rings).index_add_(1, ring, values)

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


def _log_prior(offsets: Tensor, mean: float, spread: float) -> Float[Tensor, " d"]:
    return torch.log_softmax(-((offsets - mean) ** 2) / (2 * spread**2), dim=0)


def _prior(gains: Float[Tensor, "n d"], offsets: Float[Tensor, " d"]) -> tuple[float, float]:
    """Mean and spread of all offsets that make the particles likeliest."""
    step, reach = float(offsets[1] - offsets[0]), float(offsets[-1])

    def unlikeliness(place: Float[np.ndarray, " 2"]) -> float:
        prior = _log_prior(offsets, place[0], math.exp(place[1]))
        return -float(torch.logsumexp(gains + prior, dim=1).sum())

    # Below the grid's own step a spread means nothing on it.
    bounds = [(-reach, reach), (math.log(step / 2), math.log(reach))]
    begin = np.array([0.0, np.clip(math.log(reach / 8), *bounds[1])])
    found = minimize(unlikeliness, begin, method="Nelder-Mead", bounds=bounds)
    return float(found.x[0]), math.exp(found.x[1])


def _peak(values: Tensor, offsets: Tensor) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
    """Offset of the highest value and its width, by a parabola through it and its neighbours."""
    at = values.argmax(dim=1).clamp(1, len(offsets) - 2)
    left, middle, right = (values.gather(1, (at + i)[:, None])[:, 0] for i in (-1, 0, 1))
    bend, step = (left + right - 2 * middle).clamp(max=-1e-12), offsets[1] - offsets[0]
    return offsets[at] + step * ((left - right) / (2 * bend)).clamp(-1, 1), step / (-bend).sqrt()


def _posterior(gains: Tensor, offsets: Tensor, prior: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Best offset, its error and the log-likelihood of some particles."""
    joint = gains.double() + prior
    likelihood = torch.logsumexp(joint, dim=1)
    shares = (joint - likelihood[:, None]).exp()
    width = (shares @ offsets**2 - (shares @ offsets) ** 2).clamp(min=0).sqrt()
    best, narrow = _peak(joint, offsets)
    # The grid does not resolve a sharp peak, and a parabola knows nothing of further peaks.
    return best, torch.maximum(width, narrow), likelihood


def fit_offsets(gains: Float[Tensor, "n d"], offsets: Float[Tensor, " d"]) -> OffsetFit:
    """Most probable offset of every particle under a normal prior that all of them agree on.

    Parameters
    ----------
    gains : tensor (particles, offsets)
        Log-likelihoods over that at offset 0.
    offsets : tensor (offsets,)
        Even, angstrom.
    """
    places = offsets.double()
    every = -(-len(gains) // _AT_ONCE)
    mean, spread = _prior(gains[::every].double(), places)
    prior = _log_prior(places, mean, spread)
    parts = [_posterior(some, places, prior) for some in gains.split(_AT_ONCE)]
    best, error, likelihood = (torch.cat(part) for part in zip(*parts, strict=True))
    return OffsetFit(best.float(), error.float(), mean, spread, float(likelihood.sum()))
