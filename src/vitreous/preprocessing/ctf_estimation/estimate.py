"""The CTF of a micrograph: all of its estimation."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.stats import t as student

from vitreous.errors import InputError
from vitreous.imaging.astigmatism import from_components
from vitreous.imaging.ctf import Optics
from vitreous.preprocessing.ctf_estimation.fit import CORRELATED, Fit, fit
from vitreous.preprocessing.ctf_estimation.periodogram import region_spectra
from vitreous.preprocessing.ctf_estimation.quality import (
    EVIDENCE,
    Findings,
    Profile,
    Verdict,
    ice_ring,
    judged,
    radial_profile,
    resolution_of_fit,
)
from vitreous.preprocessing.ctf_estimation.scan import Range, rescan, scan
from vitreous.preprocessing.ctf_estimation.spectrum import Spectrum, fitted_part
from vitreous.preprocessing.ctf_estimation.tilt import Tilt, find_tilt

_SMALLEST = 256
"""Pixels of a micrograph's shorter side."""


@dataclass(frozen=True)
class Search:
    """What is fitted, and where it is looked for; lengths in angstrom.

    Attributes
    ----------
    least, most : float
        Mean defocus.
    astigmatism : float
        Greatest difference of the defoci along both axes.
    plate : bool
        Fit the phase shift of a phase plate.
    coarsest, finest : float
        Resolutions that are fitted.
    """

    least: float = 4000.0
    most: float = 45000.0
    astigmatism: float = 6000.0
    plate: bool = False
    coarsest: float = 30.0
    finest: float = 3.8


@dataclass(frozen=True)
class Estimate:
    """The CTF of a micrograph.

    Attributes
    ----------
    fit : Fit
    spectrum : Spectrum
    tilt : Tilt or None
        None for a micrograph too small to tell, or without Thon rings.
    profile : Profile
    resolution : float
        Finest to which rings agree, angstrom; infinite if nowhere.
    findings : Findings
    verdict : Verdict
    tiles_left_out : int
        Edges, bars and contaminants that no spectrum was taken of.
    """

    fit: Fit
    spectrum: Spectrum
    tilt: Tilt | None
    profile: Profile
    resolution: float
    findings: Findings
    verdict: Verdict
    tiles_left_out: int

    @property
    def parameters(self) -> Float[np.ndarray, " t"]:
        """Mean defocus and the components of astigmatism, angstrom; a plate's phase, radians."""
        return self.fit.parameters

    @property
    def errors(self) -> Float[np.ndarray, " t"]:
        """Standard errors of the parameters."""
        return np.sqrt(np.diag(self.fit.covariance))

    def half_widths(self, level: float) -> Float[np.ndarray, " t"]:
        """Half widths of the parameters' confidence intervals at a level such as 0.9."""
        return self.errors * student.ppf((1 + level) / 2, self.fit.freedom)

    @property
    def defocus(self) -> tuple[float, float, float]:
        """U and V in angstrom, and the azimuth of U in degrees."""
        u, v, angle = from_components(self.parameters[None, :3])
        return float(u[0]), float(v[0]), float(angle[0])

    @property
    def phase_shift(self) -> float:
        """Of a phase plate, degrees from 0 to 180."""
        return math.degrees(self.parameters[3]) % 180 if len(self.parameters) > 3 else 0.0

    @property
    def merit(self) -> float:
        """Correlation of spectrum and fit over all pixels, 0 to 1."""
        return math.sqrt(max(self.fit.gain, 0.0) / self.fit.spread)


def _evidence(spectrum: Spectrum, found: Fit) -> float:
    noise = (found.spread - found.gain) / len(spectrum.frequency)
    return found.gain / (noise * CORRELATED)


def estimate_ctf(
    image: Float[np.ndarray, "h w"],
    pixel_size: float,
    optics: Optics,
    search: Search | None = None,
) -> Estimate:
    """Estimate the CTF of a micrograph.

    Parameters
    ----------
    image : array (y, x)
    pixel_size : float
        Angstrom.
    optics : Optics
    search : Search, optional

    Raises
    ------
    InputError
        For a micrograph that is too small, or without any contrast.
    """
    search = Search() if search is None else search
    if min(image.shape) < _SMALLEST:
        raise InputError(
            f"is {image.shape[1]} x {image.shape[0]} pixels, expected {_SMALLEST} or more",
            hint="leave it out",
        )
    if not float(image.std()) > 0:
        raise InputError("all pixels have the same value", hint="leave it out")
    regions = region_spectra(image, pixel_size)
    spectrum = fitted_part(regions, search.coarsest, search.finest)
    searched = Range(search.least, search.most, search.astigmatism / 2, search.plate)
    start = scan(spectrum, optics, searched)
    found = fit(spectrum, optics, start.parameters)
    if search.plate:
        again = fit(spectrum, optics, rescan(spectrum, optics, found.parameters))
        found = max(found, again, key=lambda one: one.gain)
    profile = radial_profile(spectrum, optics, found)
    mean, cosine, sine = found.parameters[:3]
    evidence, tilt, resolution = _evidence(spectrum, found), None, math.inf
    if evidence >= EVIDENCE:  # else both are accidents of the noise
        tilt = find_tilt(spectrum, optics, found)
        resolution = resolution_of_fit(profile, optics, found)
    findings = Findings(
        evidence,
        resolution,
        float(mean),
        2 * math.hypot(cosine, sine),
        math.sqrt(found.covariance[0, 0]),
        start.at_edge,
        tilt.angle if tilt is not None and tilt.supported else 0.0,
        ice_ring(regions),
    )
    return Estimate(
        found,
        spectrum,
        tilt,
        profile,
        resolution,
        findings,
        judged(findings),
        regions.left_out,
    )
