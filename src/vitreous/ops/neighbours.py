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


@njit(fastmath=FAST, error_model="numpy", inline="always")
def _near(place: int, count: int) -> Any:
    """The five places round one, and their shares: none beyond the ends."""
    places = np.empty(5, np.int64)
    shares = np.array([_FAR, _NEAR, _OWN, _NEAR, _FAR], np.float32)
    for n in range(5):
        places[n] = min(max(place + n - 2, 0), count - 1)
        if places[n] != place + n - 2:
            shares[n] = 0
    return places, shares


@njit(fastmath=FAST, error_model="numpy", nogil=True)
def _mean(a: Any, b: Any, c: Any, d: Any, e: Any, shares: Any, out: Any, start: int) -> None:
    """Weighted mean of five lines, from ``start`` of ``out`` on."""
    f, g, h, i, j = shares[0], shares[1], shares[2], shares[3], shares[4]
    mean = out[start : start + len(a)]
    for q in range(len(a)):
        mean[q] = f * a[q] + g * b[q] + h * c[q] + i * d[q] + j * e[q]


@kernel(fastmath=FAST, error_model="numpy")
def smooth(
    block: Any, beyond: Any, first: int, width: int, out: Any, core: int, cores: int
) -> None:
    """Means of neighbours along all three axes, weights 1, 4, 6, 4, 1.

    Parameters
    ----------
    block : float32 array (sections, side, half * width)
        Sections of a cube, of z, y, and x from 0.
    beyond : float32 array (sections, side, 2 * width)
        The same at x = -2 and -1.
    first : int
        Section that the first of ``out`` belongs to.  Outside the block all is zero.
    width : int
        Numbers of one voxel.
    out : float32 array (fewer sections, side, half * width)
        Every ``cores``-th section is filled.
    core, cores : int
    """
    sections, side, length = block.shape
    lead = 2 * width
    sheet = np.empty((side, lead + length), np.float32)
    line = np.zeros(lead + length + lead, np.float32)  # zero beyond the last x
    shares = np.array([_FAR, _NEAR, _OWN, _NEAR, _FAR], np.float32)
    for s in range(core, out.shape[0], cores):
        z, parts = _near(first + s, sections)
        for j in range(side):
            _mean(
                block[z[0], j], block[z[1], j], block[z[2], j], block[z[3], j], block[z[4], j],
                parts, sheet[j], lead,
            )  # fmt: skip
            _mean(
                beyond[z[0], j], beyond[z[1], j], beyond[z[2], j], beyond[z[3], j],
                beyond[z[4], j], parts, sheet[j], 0,
            )  # fmt: skip
        for j in range(side):
            y, parts = _near(j, side)
            _mean(sheet[y[0]], sheet[y[1]], sheet[y[2]], sheet[y[3]], sheet[y[4]], parts, line, 0)
            _mean(
                line[:length], line[width : width + length], line[lead : lead + length],
                line[lead + width : lead + width + length], line[2 * lead : 2 * lead + length],
                shares, out[s, j], 0,
            )  # fmt: skip
