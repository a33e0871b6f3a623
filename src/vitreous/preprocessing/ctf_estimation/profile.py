"""Spectra averaged along lines of equal phase, which astigmatism turns from circles to ellipses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from vitreous.preprocessing.ctf_estimation.model import without_background
from vitreous.preprocessing.ctf_estimation.spectrum import Spectrum


@dataclass(frozen=True)
class PhaseRings:
    """Rings of equal phase: their frequencies are those at the mean defocus.

    Attributes
    ----------
    ring_of : int array (pixels,)
    frequency : array (rings,)
        1/angstrom.
    counts : array (rings,)
        Pixels.
    """

    ring_of: Int[np.ndarray, " p"]
    frequency: Float[np.ndarray, " q"]
    counts: Float[np.ndarray, " q"]

    def sums(self, values: Float[np.ndarray, " p"]) -> Float[np.ndarray, " q"]:
        """Sums over each ring."""
        return np.bincount(self.ring_of, values, len(self.frequency))

    def means(self, values: Float[np.ndarray, " p"]) -> Float[np.ndarray, " q"]:
        """Means over each ring, 0 for one without pixels."""
        return self.sums(values) / np.maximum(self.counts, 1)


def phase_rings(
    spectrum: Spectrum, parameters: Float[np.ndarray, " t"], *, finer: int = 1
) -> PhaseRings:
    """Rings of equal phase under a defocus, as wide as the spectrum's or some times finer."""
    mean, cosine, sine = parameters[:3]
    twice = 2 * spectrum.azimuth
    along = np.maximum(1 + (cosine * np.cos(twice) + sine * np.sin(twice)) / mean, 0)
    first, step = spectrum.ring_frequency[0], spectrum.step / finer
    count = finer * (len(spectrum.starts) - 1) + 1
    place = np.round((spectrum.frequency * np.sqrt(along) - first) / step).astype(int)
    ring = np.clip(place, 0, count - 1)
    counts = np.bincount(ring, minlength=count).astype(float)
    return PhaseRings(ring, first + step * np.arange(count), counts)


def phase_profiles(
    spectrum: Spectrum, parameters: Float[np.ndarray, " t"], values: Float[np.ndarray, "n p"]
) -> tuple[PhaseRings, Float[np.ndarray, "n rings"]]:
    """Rings of equal phase, and sums of each spectrum over them less a smooth background."""
    rings = phase_rings(spectrum, parameters)
    sums = np.stack([rings.sums(one) for one in values])
    return rings, without_background(spectrum, sums, rings.counts)
