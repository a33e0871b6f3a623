"""The CTF of a micrograph by least squares, and how sure it is."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from vitreous.imaging.ctf import Optics
from vitreous.preprocessing.ctf_estimation.model import (
    Projection,
    Waves,
    explained_by_background,
    phase_terms,
    project,
    waves_at,
)
from vitreous.preprocessing.ctf_estimation.spectrum import Spectrum

_ITERATIONS = 30
_CONVERGED = 1e-3
"""Radians that the last step changes the phase by, at most."""

_OVERLAP = 1.12
"""Variance of a mean over Hann-windowed tiles that overlap by half, over that of as many free ones.

Welch, IEEE Trans. Audio Electroacoust. 15, 70 (1967): neighbours' periodograms correlate by 1/36
along a line, and there are four of them.
"""

_CALIBRATION = 1.25**2
"""Variance of errors over the sandwich's, on simulated micrographs: what all regions share, such as
a contrast that the splines do not follow, does not make them differ."""

_FEW = 6
"""Regions below which their differences tell little."""

_FOR_A_PLANE = 9
"""Regions from which a plane is taken before they are compared."""

CORRELATED = 2.25
"""Pixels of a Hann-windowed periodogram to each independent one: 1.5 along either axis."""


@dataclass(frozen=True)
class Fit:
    """Least-squares fit.

    Attributes
    ----------
    parameters : array (t,)
        Mean defocus and the components of astigmatism, angstrom; a plate's phase, radians.
    covariance : array (t, t)
    freedom : float
        Degrees of freedom that it was estimated with.
    gain : float
        Sum of squares that the rings explain beyond the background.
    spread : float
        Sum of squares beyond the background.
    background, rings : arrays (pixels,)
        What of the spectrum is fitted: a, and b cos 2 chi.
    phase : array (pixels,)
        chi.
    """

    parameters: Float[np.ndarray, " t"]
    covariance: Float[np.ndarray, "t t"]
    freedom: float
    gain: float
    spread: float
    background: Float[np.ndarray, " p"]
    rings: Float[np.ndarray, " p"]
    phase: Float[np.ndarray, " p"]


@dataclass(frozen=True)
class _Problem:
    """What stays the same from step to step."""

    spectrum: Spectrum
    waves: Waves
    terms: Float[np.ndarray, "t p"]
    values: Float[np.ndarray, " p"]

    def phase(self, parameters: Float[np.ndarray, " t"]) -> Float[np.ndarray, " p"]:
        return self.waves.constant + parameters @ self.terms


@dataclass(frozen=True)
class _Step:
    """The problem made linear at some parameters.

    Attributes
    ----------
    parameters : array (t,)
    projection : Projection
    phase, cosine : arrays (pixels,)
    slopes : array (t, pixels)
        Derivatives of the fitted values by the parameters.
    matrix : array (splines + t, splines + t)
        Of the normal equations of splines and parameters.
    right : array (t,)
        Slopes times residuals.
    """

    parameters: Float[np.ndarray, " t"]
    projection: Projection
    phase: Float[np.ndarray, " p"]
    cosine: Float[np.ndarray, " p"]
    slopes: Float[np.ndarray, "t p"]
    matrix: Float[np.ndarray, "s s"]
    right: Float[np.ndarray, " t"]


def _fitted(
    spectrum: Spectrum, projection: Projection, cosine: Float[np.ndarray, " p"]
) -> tuple[Float[np.ndarray, " p"], Float[np.ndarray, " p"], Float[np.ndarray, " p"]]:
    """Background, contrast and rings at every pixel."""
    split = spectrum.background.shape[1]
    background = spectrum.at_pixels(spectrum.background @ projection.coefficients[:split])
    contrast = spectrum.at_pixels(spectrum.contrast @ projection.coefficients[split:])
    return background, contrast, contrast * cosine


def _linearised(problem: _Problem, parameters: Float[np.ndarray, " t"]) -> _Step:
    spectrum = problem.spectrum
    phase = problem.phase(parameters)
    cosine = np.cos(2 * phase)
    projection = project(spectrum, problem.values, cosine)
    background, contrast, rings = _fitted(spectrum, projection, cosine)
    slopes = -2 * contrast * np.sin(2 * phase) * problem.terms
    by_splines = np.concatenate(
        [
            spectrum.background.T @ spectrum.ring_sums(slopes).T,
            spectrum.contrast.T @ spectrum.ring_sums(slopes * cosine).T,
        ]
    )
    matrix = np.block([[projection.matrix, by_splines], [by_splines.T, slopes @ slopes.T]])
    right = slopes @ (problem.values - background - rings)
    return _Step(parameters, projection, phase, cosine, slopes, matrix, right)


def _change(step: _Step, damping: float) -> Float[np.ndarray, " t"]:
    """Change of the parameters: splines are eliminated, as their own equations hold already."""
    split = len(step.matrix) - len(step.right)
    coupling = step.matrix[:split, split:]
    reduced = step.matrix[split:, split:] - coupling.T @ np.linalg.solve(
        step.matrix[:split, :split], coupling
    )
    reduced = reduced + damping * np.diag(np.diag(step.matrix)[split:])
    return np.linalg.solve(reduced, step.right)


def _descend(problem: _Problem, start: Float[np.ndarray, " t"]) -> _Step:
    """Levenberg and Marquardt's way to the least sum of squares."""
    step, damping = _linearised(problem, start), 1e-3
    for _ in range(_ITERATIONS):
        change = _change(step, damping)
        tried = _linearised(problem, step.parameters + change)
        if tried.projection.gain > step.projection.gain:
            step, damping = tried, damping / 10
        else:
            damping *= 10
        if np.abs(change @ problem.terms).max() < _CONVERGED:
            break
    return step


def _influence(spectrum: Spectrum, step: _Step) -> Float[np.ndarray, "t p"]:
    """How much each parameter changes with each pixel's value."""
    count = len(step.parameters)
    background, contrast = spectrum.background.shape[1], spectrum.contrast.shape[1]
    inverse = np.linalg.inv(step.matrix)[-count:]
    by_background = inverse[:, :background] @ spectrum.background.T
    by_contrast = inverse[:, background : background + contrast] @ spectrum.contrast.T
    return (
        spectrum.at_pixels(by_background)
        + spectrum.at_pixels(by_contrast) * step.cosine
        + inverse[:, -count:] @ step.slopes
    )


def _covariance(
    spectrum: Spectrum, step: _Step, fitted: Float[np.ndarray, " p"]
) -> tuple[Float[np.ndarray, "t t"], float]:
    """Covariance of the parameters, from how the micrograph's regions differ; degrees of freedom.

    The sandwich estimator (White, Econometrica 50, 1 (1982)): whatever makes regions differ, noise
    beyond the model as well, counts, but for a tilt's even change.  With few regions it is that of
    independent pixels.
    """
    influence = _influence(spectrum, step)
    regions = len(spectrum.share)
    if regions < _FEW:
        left = spectrum.mean - fitted
        return influence @ influence.T * float(left @ left) / len(
            left
        ) * CORRELATED * _CALIBRATION, math.inf
    moved = (spectrum.regions - fitted) @ influence.T
    weight = np.sqrt(spectrum.share)[:, None]
    plane = weight * np.column_stack([np.ones(regions), spectrum.centres])
    plane, _ = np.linalg.qr(plane if regions >= _FOR_A_PLANE else plane[:, :1])
    moved = weight * moved
    moved = moved - plane @ (plane.T @ moved)
    freedom = regions - plane.shape[1]
    return moved.T @ moved / freedom * _OVERLAP * _CALIBRATION, float(freedom)


def fit(spectrum: Spectrum, optics: Optics, start: Float[np.ndarray, " t"]) -> Fit:
    """Fit the CTF from where a scan found it.

    Parameters
    ----------
    spectrum : Spectrum
    optics : Optics
    start : array (3,) or (4,)
        Mean defocus and the components of astigmatism, angstrom; a plate's phase, radians, if it is
        to be fitted.
    """
    waves = waves_at(spectrum.frequency, optics)
    terms = phase_terms(spectrum, waves, plate=len(start) == 4)
    problem = _Problem(spectrum, waves, terms, spectrum.mean)
    step = _descend(problem, start)
    background, _, rings = _fitted(spectrum, step.projection, step.cosine)
    spread = float(problem.values @ problem.values)
    spread -= explained_by_background(spectrum, problem.values)
    covariance, freedom = _covariance(spectrum, step, background + rings)
    gain = step.projection.gain
    return Fit(step.parameters, covariance, freedom, gain, spread, background, rings, step.phase)
