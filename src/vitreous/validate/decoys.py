"""Whether a map shows no molecule: an empty map, a ball or noise, as decoys of a classification."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vitreous.imaging.filters import by_shells, low_pass
from vitreous.math.fourier import (
    frequency_radius,
    good_box,
    half_shell_means,
    resample_map,
    to_half_fourier,
)

_FINEST_PIXEL = 2.5
"""Angstrom: no molecule is round, or looks like noise, to all detail of 5 A or coarser."""

_BINS = 4
"""Bins of the rotational average in a pixel of radius: fewer would call a sharp edge not round."""

_EDGE = 5.0
"""Pixels: a ball's edge, drawn on a lattice, is round only without the detail finer than that."""

_BALL = 0.996
"""Roundness from which a map is a ball.  Drawn without a soft edge balls have 0.9964 or more, from
3 pixels of radius; apoferritin, the roundest of molecules, 0.992 if cut at 40 A (3 A/px), and
0.993 in voxels as coarse as 8 A."""

_CUTS = (15.0, 20.0, 30.0, 40.0)
"""Angstrom that noise must look like noise at, whatever lies beyond."""

_SKEW, _KURTOSIS = 0.4, 1.0
"""Largest of a whitened map of noise.  Seventeen had 0.28 and 0.38 at most, over all cuts;
molecules 1.1 and 3.5 or more at one of them, with as much noise on them as their density."""

_LEAST_POWER = 1e-8
"""Of the largest shell's power: what is below is rounding and not whitened."""

Kind = Literal["empty", "ball", "noise"]


@dataclass(frozen=True)
class Decoy:
    """A map that shows no molecule.

    Attributes
    ----------
    kind : str
    reason : str
        What tells it, to follow the map's name.
    """

    kind: Kind
    reason: str


def roundness(volume: Float[Tensor, "n n n"]) -> float:
    """Part of a map's variance about its mean that its rotational average holds, from 0 to 1.

    The average is about the centre of what stands out, which need not be the box's, and over the
    largest ball that fits the box there.
    """
    values = volume.double().cpu()
    axis = torch.arange(values.shape[-1], dtype=torch.float64)
    weight = (values - values.median()).square()
    total = weight.sum().clamp(min=1e-300)
    centre = [float((weight.sum(dim) * axis).sum() / total) for dim in ((1, 2), (0, 2), (0, 1))]
    z, y, x = ((axis - place).square() for place in centre)
    radius = (z[:, None, None] + y[:, None] + x).sqrt()
    reach = min(min(place, len(axis) - 1 - place) for place in centre)
    inside = radius < max(reach, 1.0)
    chosen, bins = values[inside], (radius[inside] * _BINS).round().long()
    average = torch.bincount(bins, chosen) / torch.bincount(bins).clamp(min=1)
    variance = (chosen - chosen.mean()).square().sum().clamp(min=1e-300)
    return 1 - float((chosen - average[bins]).square().sum() / variance)


def _whitened(volume: Float[Tensor, "n n n"], shells: int) -> Float[Tensor, "n n n"]:
    """Map with the same power in every shell within so many, and nothing beyond."""
    (power,) = half_shell_means(to_half_fourier(volume).abs().square())
    used = power > _LEAST_POWER * power[1:].max()
    used[0], used[shells:] = False, False
    gain = torch.where(used, power.clamp(min=1e-300).rsqrt(), torch.zeros_like(power))
    return by_shells(volume, gain.numpy())


def _moments(volume: Float[Tensor, "n n n"], pixel_size: float) -> Iterator[tuple[float, float]]:
    """Skewness and excess kurtosis of the whitened map, cut at one resolution after another."""
    box = volume.shape[-1]
    ball = frequency_radius(box, 3) < box / 2
    for cut in (2 * pixel_size, *(cut for cut in _CUTS if cut > 2 * pixel_size)):
        values = _whitened(volume, int(box * pixel_size / cut))[ball].numpy().astype(np.float64)
        values = (values - values.mean()) / values.std()
        yield float((values**3).mean()), float((values**4).mean()) - 3


def _is_noise(volume: Float[Tensor, "n n n"], pixel_size: float) -> bool:
    """Whether values are normally distributed, with as much of them everywhere, at every cut."""
    return all(
        abs(third) < _SKEW and abs(fourth) < _KURTOSIS
        for third, fourth in _moments(volume, pixel_size)
    )


def recognised_decoy(volume: Float[Tensor, "n n n"], pixel_size: float) -> Decoy | None:
    """What a map without a molecule is; None for any other map.

    It is judged at its own resolution: a molecule may be round without its detail.  Noise is
    recognised where it fills the box, not where a mask has cut it.

    Parameters
    ----------
    volume : tensor (n, n, n)
        Of a map that is no cube only emptiness is told.
    pixel_size : float
        Angstrom.
    """
    volume = volume.float()
    if float(volume.max() - volume.min()) == 0:
        return Decoy("empty", "is empty: all its values are the same")
    if len(set(volume.shape)) != 1:
        return None
    box = volume.shape[-1]
    smaller = good_box(int(np.ceil(box * pixel_size / _FINEST_PIXEL)))
    if smaller < box:
        volume, pixel_size = resample_map(volume, smaller), pixel_size * box / smaller
    found = roundness(low_pass(volume, 1.0, _EDGE))
    if found > _BALL:
        return Decoy("ball", f"is a ball: its rotational average holds {found:.1%} of it")
    if _is_noise(volume, pixel_size):
        return Decoy("noise", "is noise: its values are normally distributed at any resolution")
    return None
