"""Frames weighted by what radiation has left of the signal (Grant & Grigorieff, eLife 4, e06980
(2015))."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

_SCALE, _POWER, _LEAST = 0.24499, -1.6649, 2.8141
"""Of the critical exposure at 300 kV, e/A^2: SCALE k^POWER + LEAST, k in 1/angstrom."""

_OF_VOLTAGE = {300: 1.0, 200: 0.8, 100: 0.64}
"""Critical exposure over that at 300 kV: electrons that are slower do more damage."""


def critical_exposure(frequency: Float[np.ndarray, "..."], voltage: float) -> np.ndarray:
    """Exposure after which the signal has fallen to 1/e of its power, e/A^2.

    Parameters
    ----------
    frequency : array
        1/angstrom; infinite at 0.
    voltage : float
        kV; the factors of 100, 200 and 300 kV are joined by straight lines.
    """
    known = sorted(_OF_VOLTAGE)
    factor = np.interp(voltage, known, [_OF_VOLTAGE[v] for v in known])
    with np.errstate(divide="ignore"):
        return np.asarray(factor * (_SCALE * np.asarray(frequency, float) ** _POWER + _LEAST))


def exposures(doses: Float[np.ndarray, " frames"], before: float) -> Float[np.ndarray, " frames"]:
    """Exposure at the middle of each frame, e/A^2.

    Parameters
    ----------
    doses : array (frames,)
        Of each frame.
    before : float
        Exposure before the first.
    """
    return np.asarray(before + np.cumsum(doses) - doses / 2)


class DoseWeights:
    """Weights of frames at all frequencies of a half transform.

    Signal of a frame after an exposure N has the amplitude q = exp(-N / (2 Nc)), and the best sum
    is that of q times the frames.  It is divided by the root of the sum of q squared, so that noise
    has the power that it has in the plain sum over the root of the number of frames.

    Parameters
    ----------
    frequency : array
        1/angstrom.
    doses : array (frames,)
        e/A^2.
    before : float
        Exposure before the first frame.
    voltage : float
        kV.
    """

    def __init__(
        self,
        frequency: Float[np.ndarray, "h w"],
        doses: Float[np.ndarray, " frames"],
        before: float,
        voltage: float,
    ):
        self._half_rate = (0.5 / critical_exposure(frequency, voltage)).astype(np.float32)
        self._exposures = exposures(doses, before).astype(np.float32)
        squares = np.zeros_like(self._half_rate)
        for exposure in self._exposures:
            squares += np.exp(-2 * exposure * self._half_rate)
        self._norm = 1 / np.sqrt(squares)

    def of(self, frame: int) -> Float[np.ndarray, "h w"]:
        """Weights of a frame."""
        return np.asarray(np.exp(-self._exposures[frame] * self._half_rate) * self._norm)
