"""B-splines with even knots on [0, 1], of which smooth curves and fields are made."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.interpolate import BSpline

_DEGREE = 3


def spline_basis(places: Float[np.ndarray, " n"], count: int) -> Float[np.ndarray, "n count"]:
    """Values of ``count`` B-splines on [0, 1], cubic unless they are fewer than four."""
    if count == 1:
        return np.ones((len(places), 1))
    degree = min(_DEGREE, count - 1)
    inside = np.clip(places, 0, 1 - 1e-9)
    return np.asarray(BSpline.design_matrix(inside, _knots(count), degree).toarray())


def _knots(count: int) -> Float[np.ndarray, " k"]:
    degree = min(_DEGREE, count - 1)
    return np.concatenate(
        [np.zeros(degree), np.linspace(0, 1, count - degree + 1), np.ones(degree)]
    )


def knot_places(count: int) -> Float[np.ndarray, " count"]:
    """Where the coefficients of ``count`` splines belong (Greville's abscissae)."""
    degree, knots = min(_DEGREE, count - 1), _knots(count)
    return np.array([knots[i + 1 : i + 1 + degree].mean() for i in range(count)])
