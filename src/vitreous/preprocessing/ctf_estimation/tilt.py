"""A defocus that changes evenly over the micrograph: the specimen is tilted."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.ndimage import map_coordinates
from scipy.stats import f as fisher

from vitreous.imaging.ctf import Optics
from vitreous.preprocessing.ctf_estimation.fit import CORRELATED, Fit
from vitreous.preprocessing.ctf_estimation.model import waves_at
from vitreous.preprocessing.ctf_estimation.profile import phase_profiles
from vitreous.preprocessing.ctf_estimation.spectrum import Spectrum

_REACH, _STEP = 2000.0, 20.0
"""Defocus off the micrograph's own that is looked at, and its steps, angstrom."""

_STEEPEST, _GRADIENTS = math.tan(math.radians(60)), 61
"""Greatest slope along either axis, and how many are tried at first."""

_BY_CHANCE = 0.001
"""Share of micrographs of a flat specimen that may be called tilted."""

_SLOPE_STEPS = 3
"""Steps of the defocus over which slope and curvature of a region's score are taken."""

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
        Twice the logarithm of the likelihood's ratio to that of no tilt, over how much more regions
        differ than their likelihoods say.
    freedom : int
        Degrees of freedom of that quotient.
    """

    gradient: Float[np.ndarray, " 2"]
    errors: Float[np.ndarray, " 2"]
    evidence: float
    freedom: int

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
        """Whether the spectrum speaks for it: an F test of two more parameters."""
        return self.evidence > 2 * float(fisher.ppf(1 - _BY_CHANCE, 2, self.freedom))


def _local_scores(
    spectrum: Spectrum, optics: Optics, fit: Fit, offsets: Float[np.ndarray, " d"]
) -> Float[np.ndarray, "regions d"]:
    """Twice the logarithm of each region's likelihood at defoci off the micrograph's own."""
    rings, sums = phase_profiles(spectrum, fit.parameters, spectrum.regions)
    waves, count = waves_at(rings.frequency, optics), rings.counts
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
    dispersion = _dispersion(scores, spectrum.centres @ best)
    errors = _errors(score, best, spectrum) * math.sqrt(dispersion)
    return Tilt(best, errors, float(found - flat) / dispersion, len(scores) - 3)


def _dispersion(scores: Float[np.ndarray, "r d"], offsets: Float[np.ndarray, " r"]) -> float:
    """How much more the defoci of regions scatter than their likelihoods say; 1 or more.

    The squares of the likelihoods' slopes over their curvatures, which are equal in the mean where
    the likelihood is true (Wedderburn, Biometrika 61, 439 (1974)).
    """
    place = np.round((offsets + _REACH) / _STEP).astype(int)
    place = np.clip(place, _SLOPE_STEPS, scores.shape[1] - 1 - _SLOPE_STEPS)
    region, step = np.arange(len(scores)), _SLOPE_STEPS * _STEP
    below, at, above = (scores[region, place + k] for k in (-_SLOPE_STEPS, 0, _SLOPE_STEPS))
    slopes, curvature = (above - below) / (4 * step), (2 * at - above - below) / (2 * step**2)
    return max(1.0, float((slopes**2).sum() / max(curvature.sum(), 1e-12)))


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
