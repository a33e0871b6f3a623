"""Defocus as a quadratic form of the frequency, in which changes of it add up.

Defocus along azimuth theta is mean + cosine cos(2 theta) + sine sin(2 theta); times k^2 it is
k^T D k with the matrix D = [[mean + cosine, sine], [sine, mean - cosine]].
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

Values = Float[np.ndarray, " n"]


def to_components(u: Values, v: Values, angle: Values) -> Float[np.ndarray, "n 3"]:
    """Mean, cosine and sine in angstrom of U, V (angstrom) and the azimuth of U (degrees)."""
    twice, half = np.radians(2 * angle), (u - v) / 2
    return np.stack([(u + v) / 2, half * np.cos(twice), half * np.sin(twice)], axis=1)


def from_components(components: Float[np.ndarray, "n 3"]) -> tuple[Values, Values, Values]:
    """U, V (angstrom), U the larger, and the azimuth of U in [0, 180) degrees."""
    mean, cosine, sine = components.T
    half = np.hypot(cosine, sine)
    angle = np.degrees(np.arctan2(sine, cosine)) / 2 % 180
    return mean + half, mean - half, angle


def through_magnification(
    components: Float[np.ndarray, "n 3"], matrix: Float[np.ndarray, "2 2"]
) -> Float[np.ndarray, "n 3"]:
    """Defocus that gives the same phases when frequencies are read at ``matrix`` @ k instead.

    The form k^T D k stays what it was, so D becomes M^-T D M^-1: Zivanov, Nakane & Scheres,
    IUCrJ 7, 253 (2020), section 2.4.
    """
    mean, cosine, sine = components.T
    form = np.stack([np.stack([mean + cosine, sine], -1), np.stack([sine, mean - cosine], -1)], -2)
    inverse = np.linalg.inv(matrix)
    xx, xy, yy = ((inverse.T @ form @ inverse)[:, i, j] for i, j in ((0, 0), (0, 1), (1, 1)))
    return np.stack([(xx + yy) / 2, (xx - yy) / 2, xy], axis=1)
