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

_BLOCK = 512
"""Samples whose places are found at once: these loops are the processor's vectors."""

_THICK = 4
"""Sections in a row that one core fills: most points then concern one core alone."""


@njit(fastmath=FAST, error_model="numpy")
def _locate(frequencies: Any, axes: Any, side: int, first: int, size: int, at: Any) -> None:
    """Places of ``size`` of a slice's samples, from the ``first`` on, in voxels.

    Parameters
    ----------
    frequencies : float32 array (3, samples)
        Of the image.
    axes : float32 array (3, 3)
        Where the image's axes lie in the cube, in voxels for a step of ``frequencies``.
    at : float32 array (4, samples or more)
        Filled with x from 0 on, y, z, and the sign of the imaginary part.
    """
    one, middle = np.float32(1), np.float32(side // 2)
    for p in range(size):
        a, b, c = frequencies[0, first + p], frequencies[1, first + p], frequencies[2, first + p]
        x = axes[0, 0] * a + axes[1, 0] * b + axes[2, 0] * c
        sign = np.copysign(one, x)
        at[0, p] = abs(x)
        at[1, p] = sign * (axes[0, 1] * a + axes[1, 1] * b + axes[2, 1] * c) + middle
        at[2, p] = sign * (axes[0, 2] * a + axes[1, 2] * b + axes[2, 2] * c) + middle
        at[3, p] = sign


@njit(fastmath=FAST, error_model="numpy")
def _split(at: Any, side: int, size: int, low: Any) -> None:
    """Split places into the voxel below, the nearest that the cube holds, and the rest.

    Parameters
    ----------
    at : float32 array (4, samples or more)
        As :func:`_locate` fills it; x, y and z become the distances from ``low``.
    low : int32 array (3, samples or more)
        Filled with x, y and z of the voxels.
    """
    zero, across, along = np.float32(0), np.float32(side // 2 - 1), np.float32(side - 2)
    for p in range(size):
        x = min(max(np.floor(at[0, p]), zero), across)
        y = min(max(np.floor(at[1, p]), zero), along)
        z = min(max(np.floor(at[2, p]), zero), along)
        low[0, p], low[1, p], low[2, p] = np.int32(x), np.int32(y), np.int32(z)
        at[0, p] -= x
        at[1, p] -= y
        at[2, p] -= z


@njit(fastmath=FAST, error_model="numpy", inline="always")
def _index(low: Any, p: int, side: Any, half: Any) -> Any:
    """Flat index of the voxel below a place."""
    return (np.uint64(low[2, p]) * side + np.uint64(low[1, p])) * half + np.uint64(low[0, p])


@njit(fastmath=FAST, error_model="numpy", inline="always")
def _inside(at: Any, p: int) -> Any:
    """Whether the cube holds all voxels round a place."""
    one = np.float32(1)
    return (
        (at[0, p] < one) & (at[1, p] >= 0) & (at[1, p] < one) & (at[2, p] >= 0) & (at[2, p] < one)
    )


@njit(fastmath=FAST, error_model="numpy", inline="always")
def _within(rest: Any) -> Any:
    """A distance from a voxel, no farther than the next one."""
    return min(max(rest, np.float32(0)), np.float32(1))


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
    data: Any, weight: Any, q: Any, row: Any, u: Any, v: Any, w: Any,
    real: Any, imaginary: Any, share: Any,
) -> None:  # fmt: skip
    """Add ``w`` times a sample and its share of the weight to four voxels of a section."""
    one = np.float32(1)
    for back in range(2):
        line = (v if back else one - v) * w
        near, far = line * (one - u), line * u
        weight[q] += share * near
        weight[q + _ONE] += share * far
        r = q + q
        data[r] += real * near
        data[r + _ONE] += imaginary * near
        r = r + _ONE + _ONE
        data[r] += real * far
        data[r + _ONE] += imaginary * far
        q = q + row


@njit(fastmath=FAST, error_model="numpy")
def _read_block(cube: Any, side: int, at: Any, low: Any, size: int, out: Any, first: int) -> None:
    """Interpolate at ``size`` places into ``out`` (maps, samples), from the ``first`` sample on."""
    half = np.uint64(side // 2 + 1)
    row, sheet = np.uint64(2) * half, np.uint64(2 * side) * half
    _split(at, side, size, low)
    for m in range(out.shape[0]):
        begin = np.uint64(m) * np.uint64(side) * sheet
        for p in range(size):
            q = begin + _index(low, p, np.uint64(side), half) * np.uint64(2)
            u, v, w = _within(at[0, p]), _within(at[1, p]), _within(at[2, p])
            real, imaginary = _read(cube, q, row, sheet, u, v, w)
            out[m, first + p] = complex(real, at[3, p] * imaginary)


@kernel(fastmath=FAST, error_model="numpy")
def read_points(cube: Any, side: int, points: Any, padding: int, out: Any) -> None:
    """Trilinear interpolation.

    Parameters
    ----------
    cube : float32 array (maps * side * side * half * 2,)
        Real and imaginary parts.
    side : int
    points : float32 array (3, points)
        x, y and z in steps of 1 / box.
    padding : int
        Voxels a step.
    out : complex64 array (maps, points)
    """
    count, axes = points.shape[1], np.eye(3, dtype=np.float32) * np.float32(padding)
    at, low = np.empty((4, _BLOCK), np.float32), np.empty((3, _BLOCK), np.int32)
    for first in range(0, count, _BLOCK):
        size = min(_BLOCK, count - first)
        _locate(points, axes, side, first, size, at)
        _read_block(cube, side, at, low, size, out, first)


@kernel(fastmath=FAST, error_model="numpy")
def read_slices(cube: Any, side: int, plane: Any, matrices: Any, padding: int, out: Any) -> None:
    """The same at the points of slices.

    Parameters
    ----------
    plane : float32 array (3, samples)
        x, y and z (0) in steps of 1 / box.
    matrices : float32 array (slices, 3, 3)
        Volume to image frame.
    out : complex64 array (maps, slices, samples)
    """
    count = plane.shape[1]
    at, low = np.empty((4, _BLOCK), np.float32), np.empty((3, _BLOCK), np.int32)
    axes = matrices * np.float32(padding)
    for first in range(0, count, _BLOCK):  # of all slices: like ones find it in the cache
        size = min(_BLOCK, count - first)
        for s in range(matrices.shape[0]):
            _locate(plane, axes[s], side, first, size, at)
            _read_block(cube, side, at, low, size, out[:, s], first)


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
    frequencies : float32 array (3, points)
        Of the images; z is 0 on a flat slice.
    planes : float32 array (slices, 3, 3)
        Where the images' axes lie in the cube, in voxels for a step of ``frequencies``.
    samples : complex64 array (maps, slices, points)
    shares : float32 array (maps, slices, points)
        What is added to ``weight``.
    core, cores : int
    """
    half, count, one = np.uint64(side // 2 + 1), frequencies.shape[1], np.float32(1)
    sheet, chosen = np.uint64(side) * half, np.empty(_BLOCK, np.int32)
    mine = np.arange(side) // _THICK % cores == core
    at, low = np.empty((4, _BLOCK), np.float32), np.empty((3, _BLOCK), np.int32)
    for begin in range(0, count, _BLOCK):
        size = min(_BLOCK, count - begin)
        for s in range(planes.shape[0]):
            _locate(frequencies, planes[s], side, begin, size, at)
            _split(at, side, size, low)
            for up in range(2):
                found = 0
                for p in range(size):
                    chosen[found] = p
                    found += _inside(at, p) & mine[low[2, p] + up]
                for number in range(found):
                    p = chosen[number]
                    u, v, w = at[0, p], at[1, p], at[2, p] if up else one - at[2, p]
                    q = _index(low, p, np.uint64(side), half) + np.uint64(up) * sheet
                    for m in range(samples.shape[0]):
                        value, share = samples[m, s, begin + p], shares[m, s, begin + p]
                        real, imaginary = value.real, at[3, p] * value.imag
                        _add(data, weight, q, half, u, v, w, real, imaginary, share)
                        q += np.uint64(side) * sheet
