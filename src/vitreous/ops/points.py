"""Reading and filling Fourier cubes between voxels on a processor, compiled by numba.

The eager twins are :func:`vitreous.imaging.project.read_cube` and
:func:`vitreous.ops.cubes.insert_eagerly`; tests hold them equal.  Slices find their own points:
making these beforehand took twice as long as the reading.

Cubes hold z, y, and x from 0: a point of negative x is the conjugate of the opposite one.  They are
flat, and indexed by unsigned integers: numba then spares its tests for negative ones, which took as
long as the reading.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from vitreous.ops.bfloat16 import FAST
from vitreous.ops.jit import kernel

_ONE = np.uint64(1)

_THICK = 4
"""Sections in a row that one core fills: most points then concern one core alone."""


@njit(fastmath=FAST, error_model="numpy", inline="always")
def _between(place: Any, count: int) -> Any:
    """The voxel below a place on an axis, and how far the place lies above it."""
    low: Any = min(max(np.int32(place), 0), count - 2)
    return low, min(max(place - np.float32(low), np.float32(0)), np.float32(1))


@njit(fastmath=FAST, error_model="numpy", inline="always")
def _first(k: Any, j: Any, i: Any, side: int, half: int) -> Any:
    """Flat index of a voxel."""
    return np.uint64((k * side + j) * half + i)


@njit(fastmath=FAST, error_model="numpy", inline="always")
def _read(cube: Any, q: Any, row: Any, sheet: Any, u: Any, v: Any, w: Any) -> Any:
    """Real and imaginary part between the eight voxels from ``q`` on."""
    one = np.float32(1)
    a, b, c, d = (one - v) * (one - w), v * (one - w), (one - v) * w, v * w
    r = q + row
    s, t = q + sheet, r + sheet
    left = a * cube[q] + b * cube[r] + c * cube[s] + d * cube[t]
    q, r, s, t = q + _ONE, r + _ONE, s + _ONE, t + _ONE
    left_i = a * cube[q] + b * cube[r] + c * cube[s] + d * cube[t]
    q, r, s, t = q + _ONE, r + _ONE, s + _ONE, t + _ONE
    right = a * cube[q] + b * cube[r] + c * cube[s] + d * cube[t]
    q, r, s, t = q + _ONE, r + _ONE, s + _ONE, t + _ONE
    right_i = a * cube[q] + b * cube[r] + c * cube[s] + d * cube[t]
    return left + u * (right - left), left_i + u * (right_i - left_i)


@njit(fastmath=FAST, error_model="numpy", inline="always")
def _add(
    data: Any, weight: Any, corner: Any, row: Any, sheet: Any, u: Any, v: Any, w: Any,
    real: Any, imaginary: Any, share: Any, first: int, last: int,
) -> None:  # fmt: skip
    """Add a sample and its share of the weight to the eight voxels from ``corner`` on.

    ``first`` and ``last`` leave out the four of the lower section or of the upper one.
    """
    one = np.float32(1)
    for up in range(first, last):
        for back in range(2):
            line = (v if back else one - v) * (w if up else one - w)
            near, far = line * (one - u), line * u
            q = corner + np.uint64(up) * sheet + np.uint64(back) * row
            weight[q] += share * near
            weight[q + _ONE] += share * far
            q = q + q
            data[q] += real * near
            data[q + _ONE] += imaginary * near
            q = q + _ONE + _ONE
            data[q] += real * far
            data[q + _ONE] += imaginary * far


@kernel(fastmath=FAST, error_model="numpy")
def read_points(cube: Any, side: int, points: Any, padding: int, out: Any) -> None:
    """Trilinear interpolation.

    Parameters
    ----------
    cube : float32 array (maps * side * side * half * 2,)
        Real and imaginary parts.
    side : int
    points : float32 array (points, 3)
        (x, y, z) in steps of 1 / box.
    padding : int
        Voxels a step.
    out : complex64 array (maps, points)
    """
    half, middle, pad = side // 2 + 1, np.float32(side // 2), np.float32(padding)
    row, sheet = np.uint64(2 * half), np.uint64(2 * side * half)
    for p in range(points.shape[0]):
        turn = np.copysign(pad, points[p, 0])
        sign = np.copysign(np.float32(1), turn)
        i, u = _between(points[p, 0] * turn, half)
        j, v = _between(points[p, 1] * turn + middle, side)
        k, w = _between(points[p, 2] * turn + middle, side)
        q = _first(k, j, i, side, half) * np.uint64(2)
        for m in range(out.shape[0]):
            real, imaginary = _read(cube, q, row, sheet, u, v, w)
            out[m, p] = complex(real, sign * imaginary)
            q += np.uint64(side) * sheet


@kernel(fastmath=FAST, error_model="numpy")
def read_slices(cube: Any, side: int, plane: Any, matrices: Any, padding: int, out: Any) -> None:
    """The same at the points of slices.

    Parameters
    ----------
    plane : float32 array (samples, 2)
        (x, y) in steps of 1 / box.
    matrices : float32 array (slices, 3, 3)
        Volume to image frame.
    out : complex64 array (maps, slices, samples)
    """
    half, middle = side // 2 + 1, np.float32(side // 2)
    row, sheet = np.uint64(2 * half), np.uint64(2 * side * half)
    for s in range(matrices.shape[0]):
        turn = matrices[s] * np.float32(padding)
        for p in range(plane.shape[0]):
            a, b = plane[p, 0], plane[p, 1]
            x = turn[0, 0] * a + turn[1, 0] * b
            sign = np.copysign(np.float32(1), x)
            i, u = _between(abs(x), half)
            j, v = _between(sign * (turn[0, 1] * a + turn[1, 1] * b) + middle, side)
            k, w = _between(sign * (turn[0, 2] * a + turn[1, 2] * b) + middle, side)
            q = _first(k, j, i, side, half) * np.uint64(2)
            for m in range(out.shape[0]):
                real, imaginary = _read(cube, q, row, sheet, u, v, w)
                out[m, s, p] = complex(real, sign * imaginary)
                q += np.uint64(side) * sheet


@kernel(fastmath=FAST, error_model="numpy")
def insert_slices(
    data: Any,
    weight: Any,
    side: int,
    frequencies: Any,
    planes: Any,
    samples: Any,
    shares: Any,
    core: int,
    cores: int,
) -> None:
    """Add slices to the eight voxels round each of their points: the transpose of reading.

    A core fills its own sections of the cubes and no other: none waits for another, none needs a
    cube of its own, and the order of the sums does not depend on their number.  Points whose
    neighbours the cube does not hold are left out.

    Parameters
    ----------
    data : float32 array (maps * side * side * half * 2,)
        Real and imaginary parts.
    weight : float32 array (maps * side * side * half,)
        Added to in place, as ``data``.
    side : int
    frequencies : float32 array (points, 3)
        Of the images; z is 0 on a flat slice.
    planes : float32 array (slices, 3, 3)
        Where the images' axes lie in the cube, in voxels for a step of ``frequencies``.
    samples : complex64 array (maps, slices, points)
    shares : float32 array (maps, slices, points)
        What is added to ``weight``.
    core, cores : int
    """
    half, middle = side // 2 + 1, np.float32(side // 2)
    row, sheet = np.uint64(half), np.uint64(side * half)
    mine = np.arange(side) // _THICK % cores == core
    for s in range(planes.shape[0]):
        turn = planes[s]
        for p in range(frequencies.shape[0]):
            a, b, c = frequencies[p, 0], frequencies[p, 1], frequencies[p, 2]
            x = turn[0, 0] * a + turn[1, 0] * b + turn[2, 0] * c
            sign, x = np.copysign(np.float32(1), x), abs(x)
            z = sign * (turn[0, 2] * a + turn[1, 2] * b + turn[2, 2] * c) + middle
            k = np.int32(z)
            if z < 0 or k + 1 >= side or not (mine[k] or mine[k + 1]):
                continue
            y = sign * (turn[0, 1] * a + turn[1, 1] * b + turn[2, 1] * c) + middle
            i, j = np.int32(x), np.int32(y)
            if y < 0 or i + 1 >= half or j + 1 >= side:
                continue
            first, last = 0 if mine[k] else 1, 2 if mine[k + 1] else 1
            u, v, w = x - np.float32(i), y - np.float32(j), z - np.float32(k)
            q = _first(k, j, i, side, half)
            for m in range(samples.shape[0]):
                value, share = samples[m, s, p], shares[m, s, p]
                imaginary = sign * value.imag
                _add(
                    data, weight, q, row, sheet, u, v, w, value.real, imaginary, share, first, last
                )
                q += np.uint64(side) * sheet
