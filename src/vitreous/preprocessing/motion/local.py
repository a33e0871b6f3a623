"""Local motion: a smooth field of splines that makes overlapping patches of all frames most likely.

The field's prior is a Gaussian process, smooth in space and time.  Its amplitude is the movie's
own: the one under which the patches are most probable (MacKay, Neural Comput. 4, 415 (1992)), so a
movie without local motion gets next to none.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.fft
from jaxtyping import Complex, Float

from vitreous.math.fourier import half_planes
from vitreous.ops.frame_sums import FrequencyRows, PatchSpectra, turned_back
from vitreous.preprocessing.motion.alignment import SplineModel, curvature, most_likely
from vitreous.preprocessing.motion.smoothness import matern
from vitreous.preprocessing.motion.spectra import likelihood_weights, low_part, low_rows
from vitreous.preprocessing.splines import knot_places, spline_basis

_OVERLAP = 1.3
"""Side of a patch over the distance between patches."""

_KNOTS, _TIMES = 4, 10
"""Splines along each side of the movie, and in time."""

_REACH, _LASTING = 1.0, 1.0
"""Correlation lengths of the prior: in sides of the movie, and in exposures."""

_TEMPER = 0.25
"""Share of the likelihood that counts: ice is alike in neighbouring frames and yet no signal, so
the frames know less than as many independent ones would."""

_AMPLITUDES = (0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0, 5.6, 8.0, 11.0)
"""Amplitudes of the prior that are tried, angstrom."""

_FIRST_AMPLITUDE = 2.0
_ROUNDS = 2


@dataclass(frozen=True)
class Patches:
    """Low frequencies of overlapping patches in all frames.

    Attributes
    ----------
    spectra : array (patches, frames, rows, columns)
        Patches run along x first.
    rows : FrequencyRows
    y, x : arrays
        Centres of the patches' rows and columns, from 0 to 1.
    overlap : float
        How often each pixel's power is counted.
    """

    spectra: Complex[np.ndarray, "p t rows columns"]
    rows: FrequencyRows
    y: Float[np.ndarray, " py"]
    x: Float[np.ndarray, " px"]
    overlap: float


def _places(length: int, count: int) -> tuple[np.ndarray, int]:
    """Where patches begin along a side, and their own side."""
    side = scipy.fft.next_fast_len(int(np.ceil(length / count * _OVERLAP)), real=True)
    side = min(side + side % 2, length - length % 2)
    return np.linspace(0, length - side, count).round().astype(int), side


def cut_patches(
    frames: Float[np.ndarray, "t h w"], counts: tuple[int, int], radius: float
) -> Patches:
    """Cut overlapping patches under a window that falls to zero at their edges.

    Parameters
    ----------
    frames : array (frames, height, width)
        Turned back by the motion of the whole, with a mean of zero.
    counts : tuple of int
        Patches along y and x.
    radius : float
        Highest frequency, cycles a pixel.
    """
    (top, height), (left, width) = (
        _places(length, count) for length, count in zip(frames.shape[1:], counts, strict=True)
    )
    hann = [0.5 - 0.5 * np.cos(2 * np.pi * np.arange(side) / side) for side in (height, width)]
    window = np.sqrt(hann[0][:, None] * hann[1]).astype(np.float32)
    rows = low_rows((height, width), radius)
    spectra = np.stack(
        [
            low_part(
                half_planes(frames[:, y : y + height, x : x + width] * window),
                rows,
            )
            for y in top
            for x in left
        ]
    )
    power = float((window**2).sum()) * len(top) * len(left)
    return Patches(
        spectra,
        rows,
        (top + height / 2) / frames.shape[1],
        (left + width / 2) / frames.shape[2],
        power / (frames.shape[1] * frames.shape[2]),
    )


def _smooth(count: int, length: float) -> Float[np.ndarray, "count count"]:
    """Matern covariance (5/2) of splines' coefficients at the places that they belong to."""
    places = knot_places(count)
    return matern(np.abs(places[:, None] - places) / length)


def _best_amplitude(
    information: Float[np.ndarray, "c c"],
    covariance: Float[np.ndarray, "c c"],
    pull: Float[np.ndarray, "c 2"],
    pixel_size: float,
) -> float:
    """Amplitude of the prior, angstrom, under which the data are most probable.

    With the likelihood taken as a parabola of curvature H = ``information`` and H times its maximum
    = ``pull``, the evidence of a prior K is pull (1 + K H)^-1 K pull / 2 - log det(1 + K H) / 2 for
    each direction.
    """
    evidence = {}
    for amplitude in _AMPLITUDES:
        prior = (amplitude / pixel_size) ** 2 * covariance
        matrix = np.eye(len(prior)) + prior @ information
        gain = 0.5 * float((pull * np.linalg.solve(matrix, prior @ pull)).sum())
        evidence[amplitude] = gain - float(np.linalg.slogdet(matrix)[1])
    return max(evidence, key=evidence.__getitem__)


def local_splines(
    patches: Patches, middles: Float[np.ndarray, " t"], pixel_size: float
) -> tuple[Float[np.ndarray, "rows columns times 2"], float]:
    """The field's coefficients in pixels, and the prior's amplitude in angstrom.

    Parameters
    ----------
    patches : Patches
    middles : array (frames,)
        When each frame was exposed, from 0 to 1.
    pixel_size : float
        Angstrom.
    """
    times = min(_TIMES, len(middles))
    along_y, along_x = spline_basis(patches.y, _KNOTS), spline_basis(patches.x, _KNOTS)
    space = np.einsum("pi,qj->pqij", along_y, along_x).reshape(-1, _KNOTS**2)
    time = spline_basis(middles, times)
    smooth = _smooth(_KNOTS, _REACH)
    covariance = np.kron(np.kron(smooth, smooth), _smooth(times, _LASTING))
    covariance += 1e-9 * np.eye(len(covariance))
    # What all frames have in common is no motion, and the patches do not tell it.
    apart = time - time.mean(0)
    fit = np.kron(space.T @ space, apart.T @ apart)
    coefficients, amplitude = np.zeros((_KNOTS**2, times, 2)), _FIRST_AMPLITUDE
    for turn in range(_ROUNDS):
        precision = np.linalg.inv(covariance) * (pixel_size / amplitude) ** 2
        model = SplineModel(space, time, precision)
        turned = turned_back(patches.spectra, patches.rows, model.displacements(coefficients))
        weights = likelihood_weights(turned, patches.rows) * (_TEMPER / patches.overlap)
        parts = PatchSpectra.of(patches.spectra * np.sqrt(weights), patches.rows)
        coefficients = most_likely(parts, model, coefficients)
        if turn < _ROUNDS - 1:
            information = curvature(parts, model.displacements(coefficients)) * fit
            pull = (information + precision) @ coefficients.reshape(-1, 2)
            amplitude = _best_amplitude(information, covariance, pull, pixel_size)
    return coefficients.reshape(_KNOTS, _KNOTS, times, 2), amplitude
