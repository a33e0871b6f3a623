"""Half transforms of frames and patches: their low frequencies, and what is signal in them."""

from __future__ import annotations

import numpy as np
from jaxtyping import Complex, Float

from vitreous.ops.frame_sums import FrequencyRows

_SHELLS = 40
"""Rings on which signal and noise are told apart."""

_SMOOTHED = 5
"""Rings that the signal is averaged over."""

_LEFT_OUT = 2
"""First rings, of uneven illumination and thickness, that say nothing of motion."""


def low_rows(shape: tuple[int, int], radius: float) -> FrequencyRows:
    """Frequencies of an image's half transform within a radius in cycles a pixel.

    Rows are those of :func:`low_part`.
    """
    height, width = shape
    high, wide = int(radius * height), int(radius * width)
    y = np.concatenate([np.arange(high + 1), np.arange(-high, 0)]) / height
    x = np.arange(wide + 1) / width
    reach = np.sqrt(np.maximum(radius**2 - y**2, 0)) * width
    widths = np.minimum(np.floor(reach + 1e-6).astype(np.int64), wide) + 1
    return FrequencyRows(y.astype(np.float32), x.astype(np.float32), widths)


def all_rows(shape: tuple[int, int]) -> FrequencyRows:
    """All frequencies of an image's half transform, in its own order."""
    height, width = shape
    y, x = np.fft.fftfreq(height).astype(np.float32), np.fft.rfftfreq(width).astype(np.float32)
    return FrequencyRows(y, x, np.full(height, len(x)))


def low_part(
    transform: Complex[np.ndarray, "*n h w"], rows: FrequencyRows
) -> Complex[np.ndarray, "*n rows columns"]:
    """The frequencies of :func:`low_rows` in half transforms."""
    high, wide = len(rows.y) // 2, len(rows.x)
    return np.concatenate(
        [transform[..., : high + 1, :wide], transform[..., -high:, :wide]], axis=-2
    )


def counted_once(rows: FrequencyRows) -> Float[np.ndarray, "rows columns"]:
    """One within the radius, zero outside it and for one of each pair with no x."""
    inside = np.arange(len(rows.x)) < rows.widths[:, None]
    inside[:, 0] &= rows.y > 0
    return inside.astype(np.float32)


def likelihood_weights(
    aligned: Complex[np.ndarray, "p t rows columns"], rows: FrequencyRows
) -> Float[np.ndarray, "rows columns"]:
    """Weight of each frequency in the likelihood of displacements.

    With signal power S and noise power N in each of T frames, the likelihood of the frames, the
    signal being a normal variable, depends on the displacements through S / (N (N + T S)) times the
    power of their sum.  S is what different frames share, on rings; it is averaged over some.

    Parameters
    ----------
    aligned : array (patches, frames, rows, columns)
        Frames turned back by the displacements known so far.
    rows : FrequencyRows
    """
    frames, once = aligned.shape[1], counted_once(rows)
    power = (np.abs(aligned) ** 2).sum(1).mean(0)
    of_sum = (np.abs(aligned.sum(1)) ** 2).mean(0)
    shared = (of_sum - power) / (frames * (frames - 1))
    radius = np.hypot(rows.y[:, None], rows.x)
    ring = np.rint(radius / radius[once > 0].max() * (_SHELLS - 1)).astype(np.int64)
    ring = np.minimum(ring, _SHELLS - 1).ravel()
    count = np.maximum(np.bincount(ring, once.ravel(), _SHELLS), 1)
    signal = np.bincount(ring, (shared * once).ravel(), _SHELLS) / count
    noise = np.bincount(ring, ((power / frames - shared) * once).ravel(), _SHELLS) / count
    padded = np.pad(np.maximum(signal, 0), _SMOOTHED // 2, mode="edge")
    signal = np.convolve(padded, np.full(_SMOOTHED, 1 / _SMOOTHED), "valid")
    noise = np.maximum(noise, np.finfo(np.float32).tiny)
    weight = signal / (noise * (noise + frames * signal))
    weight[:_LEFT_OUT] = 0
    return np.asarray(weight[ring].reshape(radius.shape) * once, np.float32)
