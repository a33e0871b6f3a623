"""Reading and filling Fourier cubes between voxels on a processor, compiled by numba.

The eager twins are :func:`vitreous.imaging.project.read_cube` and
:func:`vitreous.ops.cubes.insert_eagerly`; tests hold them equal.  Slices find their own points:
making these beforehand took twice as long as the reading.

Cubes are flat, and indexed by unsigned integers: numba then spares its tests for negative ones,
which took as long as the reading.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from vitreous.ops.bfloat16 import FAST
from vitreous.ops.jit import kernel

_ONE = np.uint64(1)


@njit(fastmath=FAST, error_model="numpy", inline="always")
def _between(place: Any, side: int) -> Any:
    """The voxel below a place on an axis, and how far the place lies above it."""
    low: Any = min(max(np.int64(place), 0), side - 2)
    return low, min(max(place - np.float32(low), np.float32(0)), np.float32(1))


@njit(fastmath=FAST, error_model="numpy", inline="always")
def _first(k: Any, j: Any, i: Any, side: int) -> Any:
    """Flat index of a voxel."""
    return np.uint64((k * side + j) * side + i)


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
    sample: Any, share: Any,
) -> None:  # fmt: skip
    """Add a sample and its share of the weight to the eight voxels from ``corner`` on."""
    one, real, imaginary = np.float32(1), sample.real, sample.imag
    for up in range(2):
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
    cube : float32 array (maps * side * side * side * 2,)
        Real and imaginary parts.
    side : int
    points : float32 array (points, 3)
        (x, y, z) in steps of 1 / box.
    padding : int
        Voxels a step.
    out : complex64 array (maps, points)
    """
    middle, pad = np.float32(side // 2), np.float32(padding)
    row, sheet = np.uint64(2 * side), np.uint64(2 * side * side)
    for p in range(points.shape[0]):
        i, u = _between(points[p, 0] * pad + middle, side)
        j, v = _between(points[p, 1] * pad + middle, side)
        k, w = _between(points[p, 2] * pad + middle, side)
        q = _first(k, j, i, side) * np.uint64(2)
        for m in range(out.shape[0]):
            real, imaginary = _read(cube, q, row, sheet, u, v, w)
            out[m, p] = complex(real, imaginary)
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
    middle = np.float32(side // 2)
    row, sheet = np.uint64(2 * side), np.uint64(2 * side * side)
    for s in range(matrices.shape[0]):
        turn = matrices[s] * np.float32(padding)
        for p in range(plane.shape[0]):
            a, b = plane[p, 0], plane[p, 1]
            i, u = _between(turn[0, 0] * a + turn[1, 0] * b + middle, side)
            j, v = _between(turn[0, 1] * a + turn[1, 1] * b + middle, side)
            k, w = _between(turn[0, 2] * a + turn[1, 2] * b + middle, side)
            q = _first(k, j, i, side) * np.uint64(2)
            for m in range(out.shape[0]):
                real, imaginary = _read(cube, q, row, sheet, u, v, w)
                out[m, s, p] = complex(real, imaginary)
                q += np.uint64(side) * sheet


@kernel(fastmath=FAST, error_model="numpy")
def insert_points(
    data: Any,
    weight: Any,
    side: int,
    points: Any,
    operators: Any,
    padding: int,
    samples: Any,
    shares: Any,
) -> None:
    """Add samples to the eight voxels round each point: the transpose of :func:`read_points`.

    Parameters
    ----------
    data : float32 array (maps * side * side * side * 2,)
        Real and imaginary parts.
    weight : float32 array (maps * side * side * side,)
        Added to in place, as ``data``.
    side : int
    points : float32 array (points, 3)
    operators : float32 array (operators, 3, 3)
        Rotations: each sample is added at all its symmetry mates.
    padding : int
    samples : complex64 array (maps, points)
    shares : float32 array (maps, points)
        What is added to ``weight``.
    """
    middle = np.float32(side // 2)
    row, sheet = np.uint64(side), np.uint64(side * side)
    for s in range(operators.shape[0]):
        turn = operators[s] * np.float32(padding)
        for p in range(points.shape[0]):
            a, b, c = points[p, 0], points[p, 1], points[p, 2]
            i, u = _between(turn[0, 0] * a + turn[0, 1] * b + turn[0, 2] * c + middle, side)
            j, v = _between(turn[1, 0] * a + turn[1, 1] * b + turn[1, 2] * c + middle, side)
            k, w = _between(turn[2, 0] * a + turn[2, 1] * b + turn[2, 2] * c + middle, side)
            q = _first(k, j, i, side)
            for m in range(samples.shape[0]):
                _add(data, weight, q, row, sheet, u, v, w, samples[m, p], shares[m, p])
                q += np.uint64(side) * sheet


@kernel(fastmath=FAST, error_model="numpy")
def insert_slices(
    data: Any,
    weight: Any,
    side: int,
    plane: Any,
    matrices: Any,
    padding: int,
    samples: Any,
    shares: Any,
) -> None:
    """The same at the points of slices: the transpose of :func:`read_slices`.

    Parameters
    ----------
    samples : complex64 array (maps, slices, samples)
    shares : float32 array (maps, slices, samples)
    """
    middle = np.float32(side // 2)
    row, sheet = np.uint64(side), np.uint64(side * side)
    for s in range(matrices.shape[0]):
        turn = matrices[s] * np.float32(padding)
        for p in range(plane.shape[0]):
            a, b = plane[p, 0], plane[p, 1]
            i, u = _between(turn[0, 0] * a + turn[1, 0] * b + middle, side)
            j, v = _between(turn[0, 1] * a + turn[1, 1] * b + middle, side)
            k, w = _between(turn[0, 2] * a + turn[1, 2] * b + middle, side)
            q = _first(k, j, i, side)
            for m in range(samples.shape[0]):
                _add(data, weight, q, row, sheet, u, v, w, samples[m, s, p], shares[m, s, p])
                q += np.uint64(side) * sheet
