"""A defocus that changes evenly over the micrograph: the specimen is tilted."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.ndimage import map_coordinates

from vitreous.imaging.ctf import Optics
from vitreous.preprocessing.ctf_estimation.fit import CORRELATED, Fit
from vitreous.preprocessing.ctf_estimation.model import waves_at
from vitreous.preprocessing.ctf_estimation.profile import phase_rings
from vitreous.preprocessing.ctf_estimation.spectrum import Spectrum

_REACH, _STEP = 2000.0, 20.0
"""Defocus off the micrograph's own that is looked at, and its steps, angstrom."""

_STEEPEST, _GRADIENTS = math.tan(math.radians(60)), 61
"""Greatest slope along either axis, and how many are tried at first."""

_ASTRAY = 20.0
"""Twice the logarithm of the likelihood that a tilt has to gain over none: as noise alone does in
one of 20,000 micrographs (two more parameters)."""

_FINER = 3
"""Grids of gradients, each round the best of the one before."""

_FEW = 9
"""Regions below which no tilt is looked for."""


Score = Callable[[Float[np.ndarray, "g 2"]], Float[np.ndarray, " g"]]


@dataclass(frozen=True)
class Tilt:
    """A plane of defocus.

    Attributes
    ----------
    gradient : array (2,)
        Change of the defocus along x and y, angstrom for each angstrom.
    errors : array (2,)
        Standard errors.
    evidence : float
        Twice the logarithm of the likelihood's ratio to that of no tilt.
    """

    gradient: Float[np.ndarray, " 2"]
    errors: Float[np.ndarray, " 2"]
    evidence: float

    @property
    def angle(self) -> float:
        """Of the specimen against the image plane, degrees."""
        return math.degrees(math.atan(float(np.hypot(*self.gradient))))

    @property
    def axis(self) -> float:
        """Azimuth of the tilt axis from x, degrees in [0, 180): the defocus is even along it."""
        return (math.degrees(math.atan2(self.gradient[1], self.gradient[0])) + 90) % 180

    @property
    def supported(self) -> bool:
        """Whether the spectrum speaks for it."""
        return self.evidence > _ASTRAY


def _profiles(spectrum: Spectrum, fit: Fit) -> tuple[np.ndarray, np.ndarray]:
    """Sums of each region over rings of equal phase, less a smooth background, and counts."""
    rings = phase_rings(spectrum, fit.parameters)
    count = rings.counts
    sums = np.stack([rings.sums(values) for values in spectrum.regions])
    basis = spectrum.background
    matrix = basis.T @ (basis * count[:, None])
    matrix += 1e-6 * np.trace(matrix) / len(matrix) * np.eye(len(matrix))
    smooth = np.linalg.solve(matrix, basis.T @ sums.T)
    return sums - count * (basis @ smooth).T, count


def _local_scores(
    spectrum: Spectrum, optics: Optics, fit: Fit, offsets: Float[np.ndarray, " d"]
) -> Float[np.ndarray, "regions d"]:
    """Twice the logarithm of each region's likelihood at defoci off the micrograph's own."""
    sums, count = _profiles(spectrum, fit)
    waves = waves_at(spectrum.ring_frequency, optics)
    plate = fit.parameters[3] if len(fit.parameters) > 3 else 0.0
    phase = waves.per_defocus * (fit.parameters[0] + offsets[:, None]) + waves.constant + plate
    cosine = np.cos(2 * phase)
    rows = spectrum.contrast[None] * cosine[..., None]
    matrix = np.einsum("drb,r,drc->dbc", rows, count, rows)
    matrix += 1e-3 * count.mean() * np.eye(matrix.shape[-1])
    right = np.einsum("drb,nr->dbn", rows, sums)
    solved = np.linalg.solve(matrix, right)
    sign = -np.sign(np.einsum("dbn,b->nd", solved, spectrum.contrast.sum(axis=0)))
    explained = (right * solved).sum(axis=1).T * sign
    noise = ((spectrum.regions - fit.background - fit.rings) ** 2).mean(axis=1) * CORRELATED
    return explained / noise[:, None]


def find_tilt(spectrum: Spectrum, optics: Optics, fit: Fit) -> Tilt | None:
    """The plane of defocus that suits the regions of a micrograph best; None for few regions.

    Every region is scored at every defocus along its profile over rings of equal phase; a plane
    gathers one score from each.
    """
    if len(spectrum.share) < _FEW:
        return None
    offsets = np.arange(-_REACH, _REACH + _STEP / 2, _STEP)
    scores = _local_scores(spectrum, optics, fit, offsets)
    rows = np.arange(len(scores))

    def score(gradients: Float[np.ndarray, "g 2"]) -> Float[np.ndarray, " g"]:
        place = (gradients @ spectrum.centres.T + _REACH) / _STEP
        row = np.broadcast_to(rows, place.shape)
        return map_coordinates(scores, [row, place], order=1, mode="nearest").sum(axis=1)

    best, width = np.zeros(2), _STEEPEST
    for _ in range(_FINER):
        axis = np.linspace(-width, width, _GRADIENTS)
        grid = best + np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
        best, width = grid[int(np.argmax(score(grid)))], 3 * width / _GRADIENTS
    flat, found = score(np.stack([np.zeros(2), best]))
    return Tilt(best, _errors(score, best, spectrum), float(found - flat))


def _errors(score: Score, best: Float[np.ndarray, " 2"], spectrum: Spectrum) -> np.ndarray:
    """Standard errors, from how the likelihood falls off."""
    reach = np.abs(spectrum.centres).max(axis=0)
    step = 3 * _STEP / reach
    near = best + np.array([[0, 0], [1, 0], [-1, 0], [0, 1], [0, -1], [1, 1], [-1, -1]]) * step
    middle, right, left, up, down, both, neither = score(near)
    xx, yy = (2 * middle - right - left) / step[0] ** 2, (2 * middle - up - down) / step[1] ** 2
    xy = (right + left + up + down - both - neither - 2 * middle) / (2 * step[0] * step[1])
    curvature = np.array([[xx, xy], [xy, yy]]) / 2
    covariance = np.linalg.pinv(curvature)
    return np.sqrt(np.maximum(np.diag(covariance), 0))
