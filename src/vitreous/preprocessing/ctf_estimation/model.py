"""Thon rings: the square of the CTF, a smooth contrast times it, on a smooth background.

Whitened power is a(k) + b(k) cos 2 chi with chi the CTF's phase, as sin^2 chi is
(1 - cos 2 chi) / 2; a and b are splines in the frequency and b is negative.  They are solved for
exactly at any defocus (variable projection: Golub & Pereyra, Inverse Problems 19, R1, 2003), and
need only sums over rings.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from vitreous.imaging.ctf import Optics, electron_wavelength
from vitreous.preprocessing.ctf_estimation.spectrum import Spectrum

_RIDGE = 1e-6
"""Of the mean of the diagonal, added to it: splines that no ring decides stay small."""


@dataclass(frozen=True)
class Waves:
    """What the CTF's phase is made of at some frequencies.

    Attributes
    ----------
    per_defocus : array (pixels,)
        Radians for each angstrom of defocus.
    constant : array (pixels,)
        Radians of spherical aberration and amplitude contrast.
    """

    per_defocus: Float[np.ndarray, " p"]
    constant: Float[np.ndarray, " p"]


def waves_at(frequency: Float[np.ndarray, " p"], optics: Optics) -> Waves:
    """Phase of the CTF at frequencies in 1/angstrom: :func:`~vitreous.imaging.ctf.ctf_phase`."""
    wavelength = electron_wavelength(optics.voltage)
    spherical = math.pi / 2 * optics.cs * 1e7 * wavelength**3 * frequency**4
    return Waves(
        math.pi * wavelength * frequency**2, math.asin(optics.amplitude_contrast) - spherical
    )


def phase_terms(spectrum: Spectrum, waves: Waves, *, plate: bool) -> Float[np.ndarray, "t p"]:
    """Derivatives of the phase: by mean defocus, its two astigmatic components, and a phase plate.

    The components are those of :mod:`vitreous.imaging.astigmatism`, angstrom; a plate's phase is in
    radians.
    """
    twice = 2 * spectrum.azimuth
    terms = [np.ones_like(twice), np.cos(twice), np.sin(twice)]
    terms = [waves.per_defocus * term for term in terms]
    return np.stack([*terms, np.ones_like(twice)] if plate else terms)


@dataclass(frozen=True)
class Projection:
    """Background and contrast that fit best at some phase.

    Attributes
    ----------
    gain : float
        Sum of squares that the rings explain beyond the background; negative if their contrast is
        of the wrong sign.
    coefficients : array (splines,)
        Of the background, then of the contrast.
    matrix : array (splines, splines)
        Of the normal equations.
    """

    gain: float
    coefficients: Float[np.ndarray, " s"]
    matrix: Float[np.ndarray, "s s"]


def _regular(matrix: Float[np.ndarray, "s s"]) -> Float[np.ndarray, "s s"]:
    return matrix + _RIDGE * np.trace(matrix) / len(matrix) * np.eye(len(matrix))


def explained_by_background(spectrum: Spectrum, values: Float[np.ndarray, " p"]) -> float:
    """Sum of squares that the background alone explains."""
    basis = spectrum.background
    right = basis.T @ spectrum.ring_sums(values)
    matrix = basis.T @ (basis * spectrum.counts[:, None])
    return float(right @ np.linalg.solve(matrix, right))


def without_background(
    spectrum: Spectrum, sums: Float[np.ndarray, "*n rings"], counts: Float[np.ndarray, " rings"]
) -> Float[np.ndarray, "*n rings"]:
    """Sums over rings less a smooth background, fitted to so many pixels of each."""
    basis = spectrum.background
    matrix = _regular(basis.T @ (basis * counts[:, None]))
    return sums - counts * (basis @ np.linalg.solve(matrix, basis.T @ sums.T)).T


def project(
    spectrum: Spectrum, values: Float[np.ndarray, " p"], cosine: Float[np.ndarray, " p"]
) -> Projection:
    """Solve for background and contrast given cos 2 chi at every pixel."""
    a, b = spectrum.background, spectrum.contrast
    one, two, cross = spectrum.ring_sums(np.stack([cosine, cosine**2, cosine * values]))
    coupling = a.T @ (b * one[:, None])
    plain = a.T @ (a * spectrum.counts[:, None])
    matrix = _regular(np.block([[plain, coupling], [coupling.T, b.T @ (b * two[:, None])]]))
    right = np.concatenate([a.T @ spectrum.ring_sums(values), b.T @ cross])
    coefficients = np.linalg.solve(matrix, right)
    gain = float(right @ coefficients) - explained_by_background(spectrum, values)
    contrast = b @ coefficients[a.shape[1] :]
    return Projection(gain if contrast.mean() < 0 else -abs(gain), coefficients, matrix)
