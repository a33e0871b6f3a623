"""Filters that differ from place to place, chosen by how well one half predicts the other."""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vitreous.math.fourier import from_half_fourier, half_frequency_radius, to_half_fourier

_STEPS = 16
"""Cut-offs tried."""

_COARSEST = 0.2
"""Least cut-off over the finest."""

_SHARPNESS = 8
"""Order of the Butterworth filters."""

_WINDOW = 3.0
"""Width over which errors are averaged, in wavelengths of the cut-off."""


def _smooth(volume: Float[Tensor, "n n n"], width: float) -> Float[Tensor, "n n n"]:
    """Local mean over a Gaussian of this full width at half maximum, pixels."""
    sigma = width / 2.355
    radius = half_frequency_radius(volume.shape[-1], volume.device) / volume.shape[-1]
    window = torch.exp(-2 * (math.pi * sigma * radius) ** 2)
    return from_half_fourier(to_half_fourier(volume) * window)


def cross_validated(
    halves: Float[Tensor, "2 n n n"], weights: Float[np.ndarray, " s"], pixel_size: float
) -> Float[Tensor, "2 n n n"]:
    """Both halves, each place low-passed where its half best predicts the other, unfiltered.

    Parameters
    ----------
    halves : tensor (2, n, n, n)
        Half-maps in the mask.
    weights : array (shells,)
        Filter of the map as a whole, which is put before: shells that hold no signal anywhere
        need not be tried.
    pixel_size : float
        Angstrom.

    Notes
    -----
    Punjani, Zhang & Fleet, Nat. Methods 17, 1214 (2020), equations 2 to 5: the cut-off at every
    place minimises the squared error between one half filtered and the other as it is, averaged
    over a window of a few of the cut-off's wavelengths; the same cut-off serves both halves.
    """
    box = halves.shape[-1]
    radius = half_frequency_radius(box, halves.device)
    worth = np.flatnonzero(weights > 0)
    finest = float(worth[-1]) if len(worth) else 1.0
    known = radius <= finest
    spectra = [to_half_fourier(half) * known for half in halves]
    whole = [from_half_fourier(spectrum) for spectrum in spectra]
    least = torch.full_like(halves[0], math.inf)
    chosen = torch.zeros_like(halves)
    for cut in np.geomspace(_COARSEST * finest, 1.5 * finest, _STEPS):
        filters = 1 / (1 + (radius / cut) ** (2 * _SHARPNESS)).sqrt()
        tried = torch.stack([from_half_fourier(spectrum * filters) for spectrum in spectra])
        error = (tried[0] - whole[1]).square() + (tried[1] - whole[0]).square()
        error = _smooth(error, min(_WINDOW * box / float(cut), box / 4))
        better = error < least
        least = torch.where(better, error, least)
        chosen = torch.where(better, tried, chosen)
    return chosen
