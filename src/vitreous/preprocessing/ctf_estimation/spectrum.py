"""The part of a micrograph's power spectrum that a CTF is fitted to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from vitreous.preprocessing.ctf_estimation.periodogram import RegionSpectra
from vitreous.preprocessing.splines import spline_basis

_BACKGROUND_KNOTS, _CONTRAST_KNOTS, _WHITENING_KNOTS = 12, 10, 8
"""Splines in the frequency: of the background, the rings' contrast, and the logarithm of power.

A contrast of six splines is too stiff for the molecules' own spectrum at low frequencies, which
moved the phases of plates by 0.03 radians (docs/decisions.md).
"""

_AXES = 1.5
"""Steps from either axis within which a camera's columns and rows show."""

_BRIGHTEST = 99.9
"""Percentile of the power, over its ring's, that brighter pixels (ice, noise peaks) are cut to."""

Rings = Float[np.ndarray, "*a rings"]


@dataclass(frozen=True)
class Spectrum:
    """Whitened power, pixels in the order of their rings.

    Attributes
    ----------
    regions : array (regions, pixels)
        Power over that of its ring in all regions' mean, less its mean.
    share : array (regions,)
        Share of the tiles in each region, 1 in sum.
    centres : array (regions, 2)
        Angstrom from the micrograph's middle.
    tiles : int
    frequency, azimuth : array (pixels,)
        1/angstrom, radians.
    starts : int array (rings,)
        First pixel of each ring.
    ring_frequency : array (rings,)
        Mean of its pixels.
    background, contrast : array (rings, splines)
        Splines at the rings.
    step : float
        Between rings, 1/angstrom.
    """

    regions: Float[np.ndarray, "regions pixels"]
    share: Float[np.ndarray, " regions"]
    centres: Float[np.ndarray, "regions 2"]
    tiles: int
    frequency: Float[np.ndarray, " pixels"]
    azimuth: Float[np.ndarray, " pixels"]
    starts: Int[np.ndarray, " rings"]
    ring_frequency: Float[np.ndarray, " rings"]
    background: Float[np.ndarray, "rings na"]
    contrast: Float[np.ndarray, "rings nb"]
    step: float

    @property
    def mean(self) -> Float[np.ndarray, " pixels"]:
        """Mean over all tiles."""
        return self.share @ self.regions

    @property
    def ring_of(self) -> Int[np.ndarray, " pixels"]:
        """Ring of each pixel."""
        return np.repeat(np.arange(len(self.starts)), self.counts)

    @property
    def counts(self) -> Int[np.ndarray, " rings"]:
        """Pixels in each ring."""
        return np.diff(np.append(self.starts, len(self.frequency)))

    def ring_sums(self, values: Float[np.ndarray, "*a pixels"]) -> Rings:
        """Sums over the pixels of each ring."""
        return np.add.reduceat(values, self.starts, axis=-1)

    def at_pixels(self, values: Rings) -> Float[np.ndarray, "*a pixels"]:
        """Values of each pixel's ring."""
        return np.repeat(values, self.counts, axis=-1)


def _whitening(
    power: Float[np.ndarray, " pixels"], starts: Int[np.ndarray, " rings"]
) -> tuple[Float[np.ndarray, " rings"], Float[np.ndarray, " rings"]]:
    """Smooth power of each ring, from a fit to the mean logarithm; and the number of pixels."""
    count = np.diff(np.append(starts, len(power))).astype(float)
    mean = np.add.reduceat(np.log(np.maximum(power, 1e-30)), starts) / count
    basis, weight = spline_basis(np.linspace(0, 1, len(starts)), _WHITENING_KNOTS), np.sqrt(count)
    fitted = basis @ np.linalg.lstsq(basis * weight[:, None], mean * weight, rcond=None)[0]
    return np.exp(fitted), count


def fitted_part(found: RegionSpectra, coarsest: float, finest: float) -> Spectrum:
    """Whitened power between two resolutions, angstrom, without the axes and beyond Nyquist."""
    n = found.power.shape[1]
    step_y, step_x = found.steps
    y = np.fft.fftfreq(n, 1 / (n * step_y))[:, None]
    x = np.arange(n // 2 + 1)[None] * step_x
    k = np.hypot(x, y)
    highest = min(1 / finest, 0.49 * n * min(found.steps))
    off_axes = (x > _AXES * step_x) & (np.abs(y) > _AXES * step_y)
    chosen = np.flatnonzero((off_axes & (k > 1 / coarsest) & (k < highest)).ravel())
    step = float(np.mean(found.steps))
    ring = np.round(k.ravel()[chosen] / step).astype(int)
    order = np.argsort(ring, kind="stable")
    chosen = chosen[order]
    starts = np.flatnonzero(np.diff(ring[order], prepend=-1))
    regions = found.power.reshape(len(found.power), -1)[:, chosen].astype(np.float64)
    share = found.tiles / found.tiles.sum()
    smooth, count = _whitening(share @ regions, starts)
    regions /= np.repeat(smooth, count.astype(int))
    mean = share @ regions
    bright = np.minimum(np.percentile(mean, _BRIGHTEST) / mean, 1)
    regions = regions * bright
    frequency = k.ravel()[chosen]
    rings = np.add.reduceat(frequency, starts) / count
    place = (rings - rings[0]) / (rings[-1] - rings[0])
    return Spectrum(
        regions - float((share @ regions).mean()),
        share,
        found.centres,
        int(found.tiles.sum()),
        frequency,
        np.broadcast_to(np.arctan2(y, x), k.shape).ravel()[chosen],
        starts,
        rings,
        spline_basis(place, _BACKGROUND_KNOTS),
        spline_basis(place, _CONTRAST_KNOTS),
        step,
    )
