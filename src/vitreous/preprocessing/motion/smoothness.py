"""How smooth motion is: a covariance, and the motion of the whole freed of some of its error.

The whole of each frame is aligned by itself, so its error is its own; motion is a smooth curve and
small steps that add up.  How large the steps are, the displacements tell themselves.
"""

from __future__ import annotations

from itertools import product

import numpy as np
from jaxtyping import Float

_STEPS = (0.05, 0.1, 0.2, 0.3, 0.45, 0.65, 0.9, 1.4, 2.0, 3.0)
"""Root mean squares of a step between frames along either axis, angstrom."""

_ERRORS = (0.7, 1.0, 1.4, 2.0)
"""Errors of displacements over those that the likelihood tells."""

_CURVE = 50.0
"""Extent of the smooth curve, angstrom: it bends within a movie's length."""

_FEWEST = 8
"""Frames below which steps and errors cannot be told apart."""


def matern(distance: Float[np.ndarray, "*a"]) -> Float[np.ndarray, "*a"]:
    """Matern covariance (5/2) at distances in units of its length.

    Rasmussen & Williams, Gaussian Processes for Machine Learning (2006), equation 4.17.
    """
    scaled = np.sqrt(5) * distance
    return np.asarray((1 + scaled + scaled**2 / 3) * np.exp(-scaled))


def smoothed(
    curve: Float[np.ndarray, "t 2"], error: float, pixel_size: float
) -> Float[np.ndarray, "t 2"]:
    """The motion to be expected, given displacements of the frames; its mean is zero.

    A Gaussian process, averaged over the sizes of steps and errors by how probable each makes the
    displacements (the same book, equations 2.25 and 2.30).

    Parameters
    ----------
    curve : array (frames, 2)
        Displacements along x and y, pixels; their mean is zero.
    error : float
        Standard error of each along either axis by the likelihood, pixels.
    pixel_size : float
        Angstrom.
    """
    frames = len(curve)
    if frames < _FEWEST:
        return curve
    number = np.arange(1.0, frames + 1)
    smooth = _CURVE**2 * matern(np.abs(number[:, None] - number) / frames)
    walk = np.minimum(number[:, None], number)
    angstrom, evidence, found = curve * pixel_size, [], []
    for step, ratio in product(_STEPS, _ERRORS):
        motion = smooth + step**2 * walk
        whole = motion + (ratio * error * pixel_size) ** 2 * np.eye(frames)
        solved = np.linalg.solve(whole, angstrom)
        half = 0.5 * float((angstrom * solved).sum())
        evidence.append(-half - float(np.linalg.slogdet(whole)[1]))
        found.append(motion @ solved)
    weight = np.exp(np.array(evidence) - max(evidence))
    mean = np.tensordot(weight / weight.sum(), np.array(found), 1) / pixel_size
    return np.asarray(mean - mean.mean(axis=0))
