"""A movie's frames as they enter the work: gain corrected, defects filled, transformed, cropped."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Complex, Float, Real

from vitreous.math.fourier import half_planes
from vitreous.preprocessing.motion.defects import DefectFilling, find_defects


def even_size(length: int, factor: float) -> int:
    """Even number of pixels along a side that is binned by a factor."""
    return max(2, 2 * round(length / factor / 2))


def crop_half(
    transform: Complex[np.ndarray, "h w"], shape: tuple[int, int]
) -> Complex[np.ndarray, "h2 w2"]:
    """The half transform of an image with fewer pixels; sides are even."""
    height, width = shape
    if height >= transform.shape[0] and width // 2 + 1 >= transform.shape[1]:
        return transform
    kept = width // 2 + 1
    top, bottom = transform[: height // 2, :kept], transform[-(height // 2) :, :kept]
    return np.concatenate([top, bottom])


@dataclass(frozen=True)
class Detector:
    """What the camera did to the frames, in the movie's orientation.

    Attributes
    ----------
    gain : array (height, width), optional
        What frames are multiplied by; pixels where it is not above zero are defects.
    defects : array (height, width), optional
        Pixels known to be wrong.
    """

    gain: Float[np.ndarray, "h w"] | None = None
    defects: Bool[np.ndarray, "h w"] | None = None


class CorrectedFrames:
    """Frames of a movie, each made from the numbers of the file whenever it is asked for.

    Parameters
    ----------
    raw : array (frames, height, width)
        As the file holds them.
    total : array (height, width)
        Their sum.
    detector : Detector
    shape : tuple of int
        Rows and columns that transforms are cropped to.
    seed : int
        Of the values drawn for defects.
    """

    def __init__(
        self,
        raw: Real[np.ndarray, "t h w"],
        total: Float[np.ndarray, "h w"],
        detector: Detector,
        shape: tuple[int, int],
        seed: int,
    ):
        self._raw, self._seed, self.shape = raw, seed, shape
        known = np.zeros(raw.shape[1:], bool) if detector.defects is None else detector.defects
        self._gain = detector.gain
        if self._gain is not None:
            known = known | ~(self._gain > 0)
            total = total * self._gain
        self.defects = find_defects(np.asarray(total, np.float32), known)
        self._filling = DefectFilling(self.defects)
        # Sums of counts keep the mean that pixels had; the transform is unitary.
        self._scale = np.float32(np.sqrt(np.prod(shape) / total.size))

    def __len__(self) -> int:
        """Frames."""
        return len(self._raw)

    def transform(self, number: int) -> tuple[Complex[np.ndarray, "h w"], float]:
        """Half transform of a frame without its mean, and the mean."""
        frame = self._raw[number].astype(np.float32)
        if self._gain is not None:
            frame *= self._gain
        self._filling.fill(frame, self._seed + number)
        mean = float(frame.mean())
        frame -= mean
        cropped = crop_half(half_planes(frame), self.shape)
        return cropped * self._scale, mean
