"""Weighted means over a cube's neighbouring voxels on a processor, compiled by numba.

The eager twin is :func:`vitreous.ops.cubes.smooth_eagerly`; tests hold them equal.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from vitreous.ops.bfloat16 import FAST
from vitreous.ops.jit import kernel

_FAR, _NEAR, _OWN = np.float32(1 / 16), np.float32(4 / 16), np.float32(6 / 16)


@njit(fastmath=FAST, error_model="numpy", nogil=True, inline="always")
def _at_an_end(line: Any, q: int, step: int) -> Any:
    """Mean where some of the neighbours lie beyond the line, and are zero."""
    total = _OWN * line[q]
    for reach, part in ((step, _NEAR), (2 * step, _FAR)):
        if q >= reach:
            total += part * line[q - reach]
        if q + reach < len(line):
            total += part * line[q + reach]
    return total


@kernel(fastmath=FAST, error_model="numpy")
def smooth(lines: Any, step: int, out: Any, first: int, stop: int) -> None:
    """Means of neighbours along one axis, weights 1, 4, 6, 4, 1.

    Parameters
    ----------
    lines : float32 array (lines, n)
        The axis and all that varies faster than it, as one.
    step : int
        How far apart neighbours lie.
    out : float32 array (lines, n)
    first, stop : int
        Part of every line to be filled.
    """
    end, far = lines.shape[1], 2 * step
    for row in range(lines.shape[0]):
        line, mean = lines[row], out[row]
        for q in range(first, min(stop, far)):
            mean[q] = _at_an_end(line, q, step)
        for q in range(max(first, far), min(stop, end - far)):
            mean[q] = (
                _OWN * line[q]
                + _NEAR * (line[q - step] + line[q + step])
                + _FAR * (line[q - far] + line[q + far])
            )
        for q in range(max(first, far, end - far), stop):
            mean[q] = _at_an_end(line, q, step)
