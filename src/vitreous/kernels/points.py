"""Reading and filling Fourier cubes between voxels on a processor, compiled by numba.

The eager twins are :func:`vitreous.physics.project.read_cube` and
:func:`vitreous.kernels.cubes.insert_eagerly`; tests hold them equal.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from vitreous.kernels.bfloat16 import FAST


@njit(fastmath=FAST, error_model="numpy", inline="always")
def _floor(place: Any, side: int) -> int:
    return min(max(int(np.floor(place)), 0), side - 2)


@njit(fastmath=FAST, error_model="numpy")
def _share(place: Any, low: int) -> Any:
    return min(max(place - np.float32(low), np.float32(0)), np.float32(1))


@njit(fastmath=FAST, error_model="numpy", nogil=True, cache=True)
def read_points(cube: Any, points: Any, padding: int, out: Any) -> None:
    """Trilinear interpolation.

    Parameters
    ----------
    cube : complex64 array (maps, side, side, side)
    points : float32 array (points, 3)
        (x, y, z) in steps of 1 / box.
    padding : int
        Voxels a step.
    out : complex64 array (maps, points)
    """
    side = cube.shape[1]
    for p in range(points.shape[0]):
        x, y, z = (
            points[p, 0] * padding + side // 2,
            points[p, 1] * padding + side // 2,
            points[p, 2] * padding + side // 2,
        )
        i, j, k = _floor(x, side), _floor(y, side), _floor(z, side)
        u, v, w = _share(x, i), _share(y, j), _share(z, k)
        for m in range(cube.shape[0]):
            near = (cube[m, k, j, i] * (1 - u) + cube[m, k, j, i + 1] * u) * (1 - v) + (
                cube[m, k, j + 1, i] * (1 - u) + cube[m, k, j + 1, i + 1] * u
            ) * v
            far = (cube[m, k + 1, j, i] * (1 - u) + cube[m, k + 1, j, i + 1] * u) * (1 - v) + (
                cube[m, k + 1, j + 1, i] * (1 - u) + cube[m, k + 1, j + 1, i + 1] * u
            ) * v
            out[m, p] = near * (1 - w) + far * w


@njit(fastmath=FAST, error_model="numpy", nogil=True, cache=True)
def insert_points(
    data: Any,
    weight: Any,
    points: Any,
    operators: Any,
    padding: int,
    samples: Any,
    shares: Any,
) -> None:
    """Add samples to the eight voxels round each point: the transpose of :func:`read_points`.

    Parameters
    ----------
    data : complex64 array (maps, side, side, side)
    weight : float32 array (maps, side, side, side)
        Added to in place, as ``data``.
    points : float32 array (points, 3)
    operators : float32 array (operators, 3, 3)
        Rotations: each sample is added at all its symmetry mates.
    padding : int
    samples : complex64 array (maps, points)
    shares : float32 array (maps, points)
        What is added to ``weight``.
    """
    side = data.shape[1]
    for s in range(operators.shape[0]):
        turn = operators[s] * np.float32(padding)
        for p in range(points.shape[0]):
            a, b, c = points[p, 0], points[p, 1], points[p, 2]
            x = turn[0, 0] * a + turn[0, 1] * b + turn[0, 2] * c + side // 2
            y = turn[1, 0] * a + turn[1, 1] * b + turn[1, 2] * c + side // 2
            z = turn[2, 0] * a + turn[2, 1] * b + turn[2, 2] * c + side // 2
            i, j, k = _floor(x, side), _floor(y, side), _floor(z, side)
            u, v, w = _share(x, i), _share(y, j), _share(z, k)
            for up in range(2):
                for back in range(2):
                    line = (v if back else 1 - v) * (w if up else 1 - w)
                    for m in range(data.shape[0]):
                        sample, share = samples[m, p] * line, shares[m, p] * line
                        data[m, k + up, j + back, i] += sample * (1 - u)
                        data[m, k + up, j + back, i + 1] += sample * u
                        weight[m, k + up, j + back, i] += share * (1 - u)
                        weight[m, k + up, j + back, i + 1] += share * u
