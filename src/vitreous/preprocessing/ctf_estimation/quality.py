"""How far the fitted rings are seen, what ice there is, and whether to use the micrograph."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float
from scipy.ndimage import median_filter

from vitreous.imaging.ctf import Optics
from vitreous.preprocessing.ctf_estimation.fit import Fit
from vitreous.preprocessing.ctf_estimation.model import waves_at
from vitreous.preprocessing.ctf_estimation.periodogram import RegionSpectra
from vitreous.preprocessing.ctf_estimation.profile import phase_rings
from vitreous.preprocessing.ctf_estimation.spectrum import Spectrum

_AGREES = 0.5
"""Correlation of spectrum and fit down to which rings are seen."""

_FEW_PIXELS = 8

_ICE = (4.0, 3.3)
"""Resolutions in angstrom of the strongest rings of crystalline ice: 3.90, 3.67 and 3.44."""

_COMPARED = 5.5
"""Resolution, angstrom, from which on rings that are not of ice are compared with these."""

_RING = 0.03
"""Width in 1/angstrom of the neighbourhood that a ring of ice stands out from."""

_SEEN, _FINE = 15.0, 8.0
"""Resolutions of the fit, angstrom, beyond which a micrograph is rejected, or doubtful."""

EVIDENCE = 60.0
"""Twice the logarithm of the likelihood of rings over none that noise alone does not reach: it
comes to 35."""

_STRETCHED = 0.12
"""Astigmatism over defocus beyond which the microscope was badly adjusted, or the fit is astray."""

_TILTED = 15.0
"""Degrees beyond which one defocus is not enough for a micrograph."""

_UNSURE = 150.0
"""Standard error of the mean defocus, angstrom."""

_RING_OF_ICE = 0.15
"""Power of a ring over its neighbourhood's, less 1."""

Word = Literal["keep", "doubtful", "reject"]


@dataclass(frozen=True)
class Profile:
    """Spectrum and fit along the frequency, averaged over lines of equal phase.

    Attributes
    ----------
    frequency : array (rings,)
        1/angstrom.
    observed, fitted : arrays (rings,)
        Whitened power less the fitted background, and the fitted rings.
    correlation : array (rings,)
        Of the two, over three oscillations round each ring.
    """

    frequency: Float[np.ndarray, " q"]
    observed: Float[np.ndarray, " q"]
    fitted: Float[np.ndarray, " q"]
    correlation: Float[np.ndarray, " q"]


def _oscillations(
    frequency: Float[np.ndarray, " q"], fit: Fit, optics: Optics
) -> Float[np.ndarray, " q"]:
    waves = waves_at(frequency, optics)
    return (waves.per_defocus * fit.parameters[0] + waves.constant) / math.pi


def _correlation(
    weight: Float[np.ndarray, " m"], one: Float[np.ndarray, " m"], other: Float[np.ndarray, " m"]
) -> float:
    a, b = one - np.average(one, weights=weight), other - np.average(other, weights=weight)
    scale = math.sqrt((weight * a * a).sum() * (weight * b * b).sum())
    return float((weight * a * b).sum() / scale) if scale > 0 else 0.0


def radial_profile(spectrum: Spectrum, optics: Optics, fit: Fit) -> Profile:
    """Spectrum and fit along the frequency, and how they correlate."""
    rings = phase_rings(spectrum, fit.parameters, finer=2)
    full = np.flatnonzero(rings.counts > _FEW_PIXELS)
    frequency, counts = rings.frequency[full], rings.counts[full]
    observed = rings.means(spectrum.mean - fit.background)[full]
    fitted = rings.means(fit.rings)[full]
    turns = _oscillations(frequency, fit, optics)
    correlation = np.zeros(len(full))
    for i in range(len(full)):
        near = np.abs(turns - turns[i]) <= 1.5
        near[max(0, i - 10) : i + 11] = True
        correlation[i] = _correlation(counts[near], observed[near], fitted[near])
    return Profile(frequency, observed, fitted, correlation)


def resolution_of_fit(profile: Profile, optics: Optics, fit: Fit) -> float:
    """Finest resolution, angstrom, to which rings agree without a gap of a whole oscillation.

    Infinite if they do nowhere.
    """
    turns = _oscillations(profile.frequency, fit, optics)
    good = np.flatnonzero(profile.correlation > _AGREES)
    if not len(good):
        return math.inf
    gaps = np.flatnonzero(np.abs(np.diff(turns[good])) >= 1)
    last = good[gaps[0]] if len(gaps) else good[-1]
    return float(1 / profile.frequency[last])


def ice_ring(found: RegionSpectra) -> float | None:
    """Power of the sharpest ring of crystalline ice over its neighbourhood's, less 1.

    As much is taken from it as the sharpest ring at somewhat lower resolution stands out, which is
    one of Thon's.  None where the pixels are too large to show any.  The broad ring of vitreous ice
    does not count.
    """
    n, step = found.power.shape[1], float(np.mean(found.steps))
    y = np.fft.fftfreq(n, 1 / (n * found.steps[0]))[:, None]
    radius = np.hypot(np.arange(n // 2 + 1) * found.steps[1], y)
    edges = _COMPARED, *_ICE
    low, middle, high = (int(1 / resolution / step) for resolution in edges)
    if 1 / _ICE[1] + _RING / 2 > n / 2 * min(found.steps):
        return None
    ring = np.round(radius / step).astype(int).ravel()
    power = ((found.tiles / found.tiles.sum()) @ found.power.reshape(len(found.power), -1)).ravel()
    mean = np.bincount(ring, power) / np.maximum(np.bincount(ring), 1)
    excess = mean / median_filter(mean, int(_RING / step) | 1) - 1
    return float(excess[middle : high + 1].max() - excess[low:middle].max())


@dataclass(frozen=True)
class Verdict:
    """Whether to use a micrograph.

    Attributes
    ----------
    word : {"keep", "doubtful", "reject"}
    reasons : tuple of str
        Why not to keep it without a second look.
    """

    word: Word
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Findings:
    """What a verdict is made of; lengths in angstrom.

    Attributes
    ----------
    evidence : float
        Twice the logarithm of the likelihood's ratio to that of no rings.
    resolution : float
    defocus, astigmatism, error : float
        The mean, the difference of the defoci along both axes, and the mean's standard error.
    at_edge : bool
        The defocus lies at the edge of what was searched.
    tilt : float
        Degrees; 0 where the spectrum does not speak for one.
    ice : float or None
    """

    evidence: float
    resolution: float
    defocus: float
    astigmatism: float
    error: float
    at_edge: bool
    tilt: float
    ice: float | None


def judged(found: Findings) -> Verdict:
    """Whether to use a micrograph, and why not."""
    grave = (
        (found.evidence < EVIDENCE, "no Thon rings are seen"),
        (found.resolution > _SEEN, f"rings agree to no better than {_SEEN:g} A"),
    )
    slight = (
        (found.at_edge, f"the defocus of {found.defocus:.0f} A is the last that was searched"),
        (found.resolution > _FINE, f"rings agree to {found.resolution:.1f} A only"),
        (found.astigmatism > _STRETCHED * found.defocus,
         f"an astigmatism of {found.astigmatism:.0f} A is large"),
        (found.error > _UNSURE, f"the defocus is uncertain by {found.error:.0f} A"),
        (found.tilt > _TILTED,
         f"it is tilted by {found.tilt:.0f} degrees, and the defocus is that of its middle"),
        (found.ice is not None and found.ice > _RING_OF_ICE, "a ring of crystalline ice"),
    )  # fmt: skip
    reasons = [[words for bad, words in part if bad] for part in (grave, slight)]
    word: Word = "reject" if reasons[0] else "doubtful" if reasons[1] else "keep"
    return Verdict(word, tuple(reasons[0] or reasons[1]))
