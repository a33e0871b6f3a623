"""How well a map and the density of a model in it agree: as a whole, and part by part."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial import KDTree
from torch import Tensor

from vitreous.imaging.envelope import grown

_EXTEND, _EDGE = (3.0, 6.0), (6.0, 10.0)
"""Pixels and angstrom, whichever is wider, that the mask reaches beyond the atoms, and its edge."""

_REACH = (1.5, 3.0)
"""Pixels and angstrom, at least, round an atom within which its correlation is measured."""


def mask_round(
    positions: Float[np.ndarray, "atoms 3"], box: int, pixel_size: float
) -> Float[Tensor, "n n n"]:
    """Soft mask round atoms at positions (x, y, z) in angstrom from the box centre."""
    index = np.rint(positions / pixel_size).astype(int)[:, ::-1] + box // 2
    index = index[((index >= 0) & (index < box)).all(axis=1)]
    occupied = np.zeros((box, box, box), dtype=bool)
    occupied[tuple(index.T)] = True
    extend, edge = (max(pixels, width / pixel_size) for pixels, width in (_EXTEND, _EDGE))
    return grown(occupied, extend, edge)


def nearest_atoms(
    positions: Float[np.ndarray, "n 3"], box: int, pixel_size: float, resolution: float
) -> Int[np.ndarray, "z y x"]:
    """Index of the atom nearest to each voxel; -1 where none is near enough to show there.

    Near means half the resolution, at least 3 A and 1.5 pixels.
    """
    reach = max(_REACH[0] * pixel_size, _REACH[1], resolution / 2)
    axis = (np.arange(box) - box // 2) * pixel_size
    low, high = (positions.min(axis=0) - reach)[::-1], (positions.max(axis=0) + reach)[::-1]
    near = [np.flatnonzero((axis >= a) & (axis <= b)) for a, b in zip(low, high, strict=True)]
    z, y, x = np.meshgrid(*(axis[part] for part in near), indexing="ij")
    distance, atom = KDTree(positions).query(np.stack([x, y, z], axis=-1))
    nearest = np.full((box, box, box), -1)
    nearest[np.ix_(*near)] = np.where(distance <= reach, atom, -1)
    return nearest


def correlation_by_part(
    a: Float[Tensor, "n n n"],
    b: Float[Tensor, "n n n"],
    part: Int[np.ndarray, "z y x"],
    count: int,
) -> tuple[Float[np.ndarray, " c"], Int[np.ndarray, " c"]]:
    """Real-space correlation of two maps over the voxels of each part, and how many these are.

    Parameters
    ----------
    part : array (n, n, n)
        0 to ``count`` - 1, or negative for voxels of none.

    Returns
    -------
    correlations, NaN for parts of fewer than three voxels or without contrast; numbers of voxels.
    """
    member = part.ravel() >= 0
    index = part.ravel()[member]
    x, y = (volume.cpu().numpy().astype(np.float64).ravel()[member] for volume in (a, b))
    size = np.bincount(index, minlength=count)

    def mean(values: np.ndarray) -> Float[np.ndarray, " c"]:
        total: np.ndarray = np.bincount(index, values, minlength=count) / np.maximum(size, 1)
        return total

    x, y = x - mean(x)[index], y - mean(y)[index]
    power = np.sqrt(mean(x**2) * mean(y**2))
    found = np.where((size > 2) & (power > 0), mean(x * y) / np.maximum(power, 1e-300), math.nan)
    return found, size
