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

_RANGE = (0.2, 1.5)
"""First and last of them, over the resolution of the map as a whole."""

_WINDOW = 3.0
"""Width over which errors are averaged, in wavelengths of the cut-off."""

_WIDEST = 0.25
"""The widest such window over the box."""


def _smooth(volume: Float[Tensor, "n n n"], width: float) -> Float[Tensor, "n n n"]:
    """Local mean over a Gaussian of this full width at half maximum, pixels."""
    sigma, box = width / math.sqrt(8 * math.log(2)), volume.shape[-1]
    full = torch.fft.fftfreq(box, device=volume.device)
    window = torch.exp(-2 * (math.pi * sigma * full) ** 2)
    spectrum = to_half_fourier(volume)
    # One axis after the other: a Gaussian of the radius in the box costs as much as a transform.
    for part in (window[:, None, None], window[:, None], window[: box // 2 + 1]):
        spectrum *= part
    return from_half_fourier(spectrum)


def _wiener(squared: Float[Tensor, "n n h"], cut: float) -> Float[Tensor, "n n h"]:
    """1 / (1 + (k / cut)^8), from the squared radii k^2."""
    return (squared / cut**2).square_().square_().add_(1).reciprocal_()


def cross_validated(
    halves: Float[Tensor, "2 n n n"], shell: float
) -> tuple[Float[Tensor, "2 n n n"], Float[Tensor, "n n n"]]:
    """Both halves, each place low-passed where its half best predicts the other, unfiltered.

    Parameters
    ----------
    halves : tensor (2, n, n, n)
        Half-maps in the mask.
    shell : float
        Last shell of the resolution of the map as a whole.

    Returns
    -------
    filtered : tensor (2, n, n, n)
    cutoffs : tensor (n, n, n)
        Shell at which each place's filter is a half; the same for both halves.

    Notes
    -----
    Punjani, Zhang & Fleet, Nat. Methods 17, 1214 (2020): the cut-off at every place minimises the
    squared error between one half filtered and the other as it is, averaged over a window of a few
    wavelengths.  Two things differ, both for a smaller error (docs/decisions.md): the filters are
    those of Wiener, in place of Butterworth's of amplitude, 1 / (1 + (k / cut-off)^8) where signal
    over noise falls with k^8 near a cut-off; and each cut-off is compared with the next one over
    the same window, so that the other half's noise, a part of both errors, is no part of their
    difference.
    """
    box = halves.shape[-1]
    radius = half_frequency_radius(box, halves.device)
    cuts = np.geomspace(_RANGE[0] * shell, _RANGE[1] * shell, _STEPS)
    known = radius <= min(float(cuts[-1]), box // 2 - 1)
    spectra, squared = to_half_fourier(halves) * known, radius.square()
    first, second = whole = from_half_fourier(spectra)
    excess = least = torch.zeros_like(halves[0])
    cutoffs = torch.full_like(least, float(cuts[0]))
    before, chosen = None, whole
    for cut in map(float, cuts):
        tried = from_half_fourier(spectra * _wiener(squared, cut))
        error = (tried[0] - second).square_() + (tried[1] - first).square_()
        if before is None:
            chosen = tried
        else:
            excess = excess + _smooth(error - before, min(_WINDOW * box / cut, _WIDEST * box))
        better = excess < least
        least = torch.where(better, excess, least)
        chosen = torch.where(better, tried, chosen)
        cutoffs = torch.where(better, cut, cutoffs)
        before = error
    return chosen, cutoffs
