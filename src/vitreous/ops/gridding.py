"""Values between the points of a fine grid of a half-plane, compiled by numba."""

from __future__ import annotations

from typing import Any

import numpy as np

from vitreous.ops.bfloat16 import FAST
from vitreous.ops.jit import kernel


@kernel(fastmath=FAST, error_model="numpy")
def gather(planes: Any, first: Any, weights_x: Any, weights_y: Any, sign: Any, out: Any) -> None:
    """Weighted sums of the grid points round each sample.

    Parameters
    ----------
    planes : float32 array (images, side, half, 2)
        Real and imaginary parts; y in the middle, x from 0: those of negative x are conjugates.
    first : int32 array (2, samples)
        Column (negative below 0) and row of the first point of each sample.
    weights_x, weights_y : float32 arrays (samples, width)
    sign : float32 array (samples,)
        Of the imaginary part.
    out : float32 array (images, samples, 2)
    """
    zero, last, width = np.float32(0), planes.shape[1] - 1, weights_x.shape[1]
    for n in range(planes.shape[0]):
        for p in range(first.shape[1]):
            column, row = first[0, p], first[1, p]
            mates = max(0, min(width, -column))
            real = imaginary = zero
            for i in range(width):
                a = b = zero
                for j in range(mates):
                    weight = weights_x[p, j]
                    a += weight * planes[n, last - row - i, -column - j, 0]
                    b -= weight * planes[n, last - row - i, -column - j, 1]
                for j in range(mates, width):
                    weight = weights_x[p, j]
                    a += weight * planes[n, row + i, column + j, 0]
                    b += weight * planes[n, row + i, column + j, 1]
                real += weights_y[p, i] * a
                imaginary += weights_y[p, i] * b
            out[n, p, 0] = real
            out[n, p, 1] = sign[p] * imaginary
