"""Sums over the symmetry mates of a cube's voxels on a processor, compiled by numba.

The eager twin is :func:`vitreous.ops.cubes.add_turned_eagerly`, turn by turn; tests hold them
equal.  Cubes hold z, y, and x from 0, both Friedel mates at x = 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from vitreous.ops.bfloat16 import FAST
from vitreous.ops.jit import kernel


@kernel(error_model="numpy")
def join_mates(data: Any, weight: Any, side: int, turns: Any, core: int, cores: int) -> None:
    """Replace every voxel by the sum of its mates, in place.

    A voxel and its Friedel mate hold the same: the one with the first of x, y, z above zero speaks
    for both.  Of all mates the one that comes first in memory speaks for all, so each sum is made
    once, and no two cores touch the same voxel.

    Parameters
    ----------
    data : complex64 array (maps, side * side * half)
    weight : float32 array (maps, side * side * half)
    side : int
    turns : int64 array (turns, 3, 3)
        A group of rotations (x, y, z) that carry the cube's lattice into itself.
    core, cores : int
        A core starts from every ``cores``-th section.
    """
    middle, half, count = side // 2, side // 2 + 1, turns.shape[0]
    last = side * side * half - 1
    mates, turned = np.empty(count, np.int64), np.empty(count, np.bool_)
    for k in range(core, side, cores):
        for j in range(side):
            for i in range(half):
                y, z = j - middle, k - middle
                if i == 0 and (y < 0 or (y == 0 and z < 0)):
                    continue
                own, found = (k * side + j) * half + i, 0
                while found < count:
                    t = turns[found]
                    a = t[0, 0] * i + t[0, 1] * y + t[0, 2] * z
                    b = t[1, 0] * i + t[1, 1] * y + t[1, 2] * z
                    c = t[2, 0] * i + t[2, 1] * y + t[2, 2] * z
                    turned[found] = a < 0 or (a == 0 and (b < 0 or (b == 0 and c < 0)))
                    if turned[found]:
                        a, b, c = -a, -b, -c
                    mates[found] = ((c + middle) * side + b + middle) * half + a
                    if mates[found] < own:
                        break
                    found += 1
                if found < count:
                    continue
                for m in range(data.shape[0]):
                    value, share = np.complex64(0), np.float32(0)
                    for n in range(count):
                        one = data[m, mates[n]]
                        value += np.conj(one) if turned[n] else one
                        share += weight[m, mates[n]]
                    for n in range(count):
                        mate, one = mates[n], np.conj(value) if turned[n] else value
                        data[m, mate] = one
                        weight[m, mate] = share
                        if mate % half == 0:  # its Friedel mate is held, too
                            data[m, last - half + 1 - mate] = np.conj(one)
                            weight[m, last - half + 1 - mate] = share


@kernel(fastmath=FAST, error_model="numpy")
def add_turned(
    data: Any,
    weight: Any,
    turn: Any,
    radius: float,
    data_sum: Any,
    weight_sum: Any,
    core: int,
    cores: int,
) -> None:
    """Add cubes, turned, to sums: trilinear interpolation at every voxel within a radius.

    Parameters
    ----------
    data : complex64 array (maps, side, side, half)
    weight : float32 array (maps, side, side, half)
    turn : float32 array (3, 3)
        Carries a voxel of the sums (x, y, z from the middle) to where the cubes are read.
    radius : float
        In voxels.
    data_sum, weight_sum : arrays (maps, side, side, half)
        Added to in place, in every ``cores``-th section.
    core, cores : int
    """
    maps, side, half = data.shape[0], data.shape[1], data.shape[3]
    middle = side // 2
    one = np.float32(1)
    for c in range(core, side, cores):
        for b in range(side):
            for a in range(half):
                p, q, r = np.float32(a), np.float32(b - middle), np.float32(c - middle)
                if p * p + q * q + r * r > radius * radius:
                    continue
                x = turn[0, 0] * p + turn[0, 1] * q + turn[0, 2] * r
                y = turn[1, 0] * p + turn[1, 1] * q + turn[1, 2] * r
                z = turn[2, 0] * p + turn[2, 1] * q + turn[2, 2] * r
                mate = x < 0
                if mate:
                    x, y, z = -x, -y, -z
                y, z = y + middle, z + middle
                i, j, k = min(int(x), half - 2), min(int(y), side - 2), min(int(z), side - 2)
                u, v, w = x - np.float32(i), y - np.float32(j), z - np.float32(k)
                for m in range(maps):
                    value, share = np.complex64(0), np.float32(0)
                    for up in range(2):
                        for back in range(2):
                            line = (v if back else one - v) * (w if up else one - w)
                            near, far = (one - u) * line, u * line
                            value += data[m, k + up, j + back, i] * near
                            value += data[m, k + up, j + back, i + 1] * far
                            share += weight[m, k + up, j + back, i] * near
                            share += weight[m, k + up, j + back, i + 1] * far
                    data_sum[m, c, b, a] += np.conj(value) if mate else value
                    weight_sum[m, c, b, a] += share
