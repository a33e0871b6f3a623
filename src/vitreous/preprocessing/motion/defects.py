"""Pixels that cannot be right: found in the sum of all frames, and filled from their neighbours."""

from __future__ import annotations

import numpy as np
import scipy.ndimage
from jaxtyping import Bool, Float, Real

_NEAR = 5
"""Side of the neighbourhood that a pixel is compared with."""

_OUTLIER = 7.0
"""Standard deviations of the sum about its neighbourhood beyond which a pixel is a defect."""

_REACH = 8
"""Pixels along each axis within which values for a defect are drawn."""

_TRIES = 64


def find_defects(
    total: Float[np.ndarray, "h w"], known: Bool[np.ndarray, "h w"]
) -> Bool[np.ndarray, "h w"]:
    """Known defects, and pixels that are far brighter or darker than those around them.

    Parameters
    ----------
    total : array (height, width)
        Sum of all frames, gain corrected.
    known : array (height, width)
    """
    middle = float(np.median(total))
    reach = _OUTLIER * _spread(total - middle)
    # Cut off first, so that a hot pixel does not make its neighbours look dark.
    around = scipy.ndimage.uniform_filter(
        np.clip(total, middle - reach, middle + reach), _NEAR, mode="nearest"
    )
    rough = total - around
    limit = _OUTLIER * _spread(rough)
    return np.asarray(known | (np.abs(rough) > limit)) if limit > 0 else known


def _spread(values: Float[np.ndarray, "h w"]) -> float:
    """Standard deviation of a normal variable, whatever its outliers are."""
    return 1.4826 * float(np.median(np.abs(values)))


class DefectFilling:
    """Values of sound neighbours, drawn anew in every frame, in the place of defects.

    A mean would do no harm to the signal, but its lack of noise would show in every frame alike.

    Parameters
    ----------
    defects : array (height, width)
    """

    def __init__(self, defects: Bool[np.ndarray, "h w"]):
        self._at = np.argwhere(defects)
        self._defects = defects

    def __len__(self) -> int:
        """Defects."""
        return len(self._at)

    def fill(self, frame: Real[np.ndarray, "h w"], seed: int) -> None:
        """Fill the defects of a frame in place."""
        left, rng = self._at, np.random.default_rng(seed)
        limit = np.array(frame.shape) - 1
        for _ in range(_TRIES):
            if not len(left):
                return
            near = left + rng.integers(-_REACH, _REACH + 1, left.shape)
            near = np.clip(near, 0, limit)
            sound = ~self._defects[near[:, 0], near[:, 1]]
            chosen, source = left[sound], near[sound]
            frame[chosen[:, 0], chosen[:, 1]] = frame[source[:, 0], source[:, 1]]
            left = left[~sound]
        frame[left[:, 0], left[:, 1]] = frame[~self._defects].mean()  # wide blocks of defects
