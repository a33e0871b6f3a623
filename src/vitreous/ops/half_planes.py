"""Filling half a Fourier cube with central slices on a processor, compiled by numba.

The eager twin is :func:`vitreous.reconstruct.half_cube.insert_eagerly`; tests hold them equal.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from vitreous.ops.bfloat16 import FAST
from vitreous.ops.jit import kernel


@kernel(fastmath=FAST, error_model="numpy")
def insert_planes(
    data: Any,
    weight: Any,
    frequencies: Any,
    planes: Any,
    samples: Any,
    shares: Any,
    core: int,
    cores: int,
) -> None:
    """Add slices to the voxels round each of their points, those of negative x at their mates.

    A core fills every ``cores``-th section of the cube and no other: none waits for another, none
    needs a cube of its own, and the order of the sums does not depend on their number.

    Parameters
    ----------
    data : complex64 array (side, side, half)
        Of z, y and x from 0; zero frequency in the middle of z and y.
    weight : float32 array (side, side, half)
        Added to in place, as ``data``.
    frequencies : float32 array (points, 3)
        Of the images; z is 0 on a flat slice.
    planes : float32 array (images, 3, 3)
        Where the images' axes lie in the cube, in voxels for a step of ``frequencies``.
    samples : complex64 array (images, points)
    shares : float32 array (images, points)
        What is added to ``weight``.
    core, cores : int
    """
    side, half = data.shape[0], data.shape[2]
    one = np.float32(1)
    for n in range(planes.shape[0]):
        for p in range(frequencies.shape[0]):
            a, b, c = frequencies[p, 0], frequencies[p, 1], frequencies[p, 2]
            x = planes[n, 0, 0] * a + planes[n, 1, 0] * b + planes[n, 2, 0] * c
            mate = x < 0
            if mate:
                a, b, c, x = -a, -b, -c, -x
            y = planes[n, 0, 1] * a + planes[n, 1, 1] * b + planes[n, 2, 1] * c + side // 2
            z = planes[n, 0, 2] * a + planes[n, 1, 2] * b + planes[n, 2, 2] * c + side // 2
            i, j, k = int(x), int(y), int(z)
            if y < 0 or z < 0 or i + 1 >= half or j + 1 >= side or k + 1 >= side:
                continue
            u, v, w = x - np.float32(i), y - np.float32(j), z - np.float32(k)
            sample = np.conj(samples[n, p]) if mate else samples[n, p]
            for up in range(2):
                if (k + up) % cores != core:
                    continue
                for back in range(2):
                    line = (v if back else one - v) * (w if up else one - w)
                    value, share = sample * line, shares[n, p] * line
                    data[k + up, j + back, i] += value * (one - u)
                    data[k + up, j + back, i + 1] += value * u
                    weight[k + up, j + back, i] += share * (one - u)
                    weight[k + up, j + back, i + 1] += share * u


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
    """Add a cube, turned, to sums: trilinear interpolation at every voxel within a radius.

    Parameters
    ----------
    data : complex64 array (side, side, half)
        Of z, y and x from 0, with both Friedel mates at x = 0.
    weight : float32 array (side, side, half)
    turn : float32 array (3, 3)
        Carries a voxel of the sums (x, y, z from the middle) to where the cube is read.
    radius : float
        In voxels.
    data_sum, weight_sum : arrays (side, side, half)
        Added to in place, in every ``cores``-th section.
    core, cores : int
    """
    side, half = data.shape[0], data.shape[2]
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
                value, share = np.complex64(0), np.float32(0)
                for up in range(2):
                    for back in range(2):
                        line = (v if back else one - v) * (w if up else one - w)
                        near, far = (one - u) * line, u * line
                        value += data[k + up, j + back, i] * near
                        value += data[k + up, j + back, i + 1] * far
                        share += weight[k + up, j + back, i] * near
                        share += weight[k + up, j + back, i + 1] * far
                data_sum[c, b, a] += np.conj(value) if mate else value
                weight_sum[c, b, a] += share
