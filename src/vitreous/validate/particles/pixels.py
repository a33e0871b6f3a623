"""What the pixels of images say before any transform: dead, clipped, normalised."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from vitreous.math.fourier import frequency_radius


@dataclass(frozen=True)
class PixelStatistics:
    """Figures of each image.

    Attributes
    ----------
    finite : bool array (images,)
        Without NaN and infinite values.
    constant : bool array (images,)
        Holding one value only.
    clipped : array (images,)
        Share of the pixels at the image's least or greatest value, whichever has more.
    mean, spread : arrays (images,)
        Mean and standard deviation outside the largest circle that fits the box.
    """

    finite: Bool[np.ndarray, " n"]
    constant: Bool[np.ndarray, " n"]
    clipped: Float[np.ndarray, " n"]
    mean: Float[np.ndarray, " n"]
    spread: Float[np.ndarray, " n"]

    @property
    def usable(self) -> Bool[np.ndarray, " n"]:
        """Images that can be transformed and normalised."""
        return self.finite & ~self.constant & (self.spread > 0)


def pixel_statistics(images: Float[np.ndarray, "n b b"]) -> PixelStatistics:
    """Look at the pixels of some images."""
    box = images.shape[-1]
    finite = np.isfinite(images).all(axis=(1, 2))
    sound = np.where(finite[:, None, None], images, 0)
    low, high = sound.min(axis=(1, 2)), sound.max(axis=(1, 2))
    at_low = (sound == low[:, None, None]).mean(axis=(1, 2))
    at_high = (sound == high[:, None, None]).mean(axis=(1, 2))
    background = sound[:, (frequency_radius(box, 2) > box / 2 - 1).numpy()].astype(np.float64)
    return PixelStatistics(
        finite,
        finite & (low == high),
        np.maximum(at_low, at_high),
        background.mean(axis=1),
        background.std(axis=1),
    )


def joined(parts: list[PixelStatistics]) -> PixelStatistics:
    """The figures of several batches, one after the other."""
    names = ("finite", "constant", "clipped", "mean", "spread")
    return PixelStatistics(*(np.concatenate([getattr(p, name) for p in parts]) for name in names))
