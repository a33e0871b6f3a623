"""Sums over the symmetry mates of a cube's voxels on a processor, compiled by numba.

The eager twin is :func:`vitreous.ops.cubes.join_mates_eagerly`; tests hold them equal.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from vitreous.ops.jit import kernel


@kernel(error_model="numpy")
def join_mates(data: Any, weight: Any, side: int, turns: Any, core: int, cores: int) -> None:
    """Replace every voxel by the sum of its mates, in place.

    The mate that comes first in memory speaks for all, so each sum is made once, and no two cores
    touch the same voxel.

    Parameters
    ----------
    data : complex64 array (maps, side ** 3)
    weight : float32 array (maps, side ** 3)
    side : int
    turns : int64 array (turns, 3, 3)
        A group of rotations (x, y, z) that carry the cube's lattice into itself.
    core, cores : int
        A core starts from every ``cores``-th section.
    """
    middle, count = side // 2, turns.shape[0]
    mates = np.empty(count, np.int64)
    for k in range(core, side, cores):
        for j in range(side):
            for i in range(side):
                own, found = (k * side + j) * side + i, 0
                x, y, z = i - middle, j - middle, k - middle
                while found < count:
                    t = turns[found]
                    a = t[0, 0] * x + t[0, 1] * y + t[0, 2] * z + middle
                    b = t[1, 0] * x + t[1, 1] * y + t[1, 2] * z + middle
                    c = t[2, 0] * x + t[2, 1] * y + t[2, 2] * z + middle
                    mate = (c * side + b) * side + a
                    if mate < own:
                        break
                    mates[found] = mate
                    found += 1
                if found < count:
                    continue
                for m in range(data.shape[0]):
                    value, share = np.complex64(0), np.float32(0)
                    for mate in mates:
                        value += data[m, mate]
                        share += weight[m, mate]
                    for mate in mates:
                        data[m, mate] = value
                        weight[m, mate] = share
