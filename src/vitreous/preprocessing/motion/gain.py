"""Gain references: turned as the movie lies, and the orientation found by what a wrong one leaves.

A camera's fixed pattern is the inverse of its gain.  The sum of all frames as they were recorded
holds it, and correlates with the inverse gain in the right orientation alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.ndimage
from jaxtyping import Float

_NEAR = 5
"""Side in pixels of the neighbourhood whose mean is taken off: what is left is pattern."""

_OUTLIER = 5.0
"""Standard deviations at which values are cut off."""

_SURE = 8.0
"""Standard errors by which the best orientation's correlation must lie above zero and the next."""


@dataclass(frozen=True)
class Orientation:
    """How a gain reference is brought to the movie's frame: first turned, then flipped.

    Attributes
    ----------
    turns : int
        Times 90 degrees that it is turned, as --gain_rot of RELION and -RotGain of MotionCor2.
    flip : int
        0 not at all, 1 upside down, 2 left to right, as --gain_flip and -FlipGain.
    """

    turns: int = 0
    flip: int = 0

    def apply(self, gain: Float[np.ndarray, "a b"]) -> Float[np.ndarray, "h w"]:
        """The reference in this orientation."""
        turned = np.rot90(gain, -self.turns)
        return turned if self.flip == 0 else np.flip(turned, self.flip - 1)

    @property
    def words(self) -> str:
        """As the options say it."""
        return f"--gain-rotate {self.turns} --gain-flip {self.flip}"


ORIENTATIONS = tuple(Orientation(turns, flip) for flip in (0, 1) for turns in range(4))
"""All eight; a flip left to right is one upside down after half a turn."""


@dataclass(frozen=True)
class OrientationFit:
    """How well a reference fits a movie in its best orientation, and in the one that is asked of.

    Attributes
    ----------
    best : Orientation
    correlation : float
        Of the fixed pattern with the inverse gain, in the best orientation.
    asked : float
        In the orientation asked of.
    error : float
        Standard error of a correlation of patterns that have nothing in common.
    sure : bool
        The best lies above zero and all others by many errors.
    """

    best: Orientation
    correlation: float
    asked: float
    error: float
    sure: bool


def _pattern(image: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """What differs from pixel to pixel, of unit variance, without outliers."""
    rough = image - scipy.ndimage.uniform_filter(image, _NEAR, mode="nearest")
    centred = rough - np.median(rough)
    spread = 1.4826 * float(np.median(np.abs(centred))) or float(centred.std())
    if spread == 0:
        return np.zeros_like(image)
    cut = np.clip(centred / spread, -_OUTLIER, _OUTLIER)
    return np.asarray((cut - cut.mean()) / cut.std())


def fitted_orientation(
    total: Float[np.ndarray, "h w"], gain: Float[np.ndarray, "a b"], asked: Orientation
) -> OrientationFit:
    """Compare the sum of a movie's frames, as recorded, with its gain in every orientation.

    Parameters
    ----------
    total : array (height, width)
        Sum of the frames, no gain applied.
    gain : array
        As its file holds it; zeros are pixels without a value.
    asked : Orientation
    """
    pattern = _pattern(total.astype(np.float32))
    inverse = np.where(gain > 0, 1 / np.maximum(gain, 1e-6), np.median(gain[gain > 0]))
    theirs = _pattern(inverse.astype(np.float32))
    fitting = [one for one in ORIENTATIONS if one.apply(theirs).shape == pattern.shape]
    scores = {one: float((pattern * one.apply(theirs)).mean()) for one in fitting}
    ranked = sorted(scores, key=scores.__getitem__, reverse=True)
    best, error = ranked[0], pattern.size**-0.5
    following = max(0.0, scores[ranked[1]])
    lying = asked.apply(theirs)
    return OrientationFit(
        best=best,
        correlation=scores[best],
        asked=float((pattern * lying).mean()) if lying.shape == pattern.shape else 0.0,
        error=error,
        sure=scores[best] - following > _SURE * error,
    )
