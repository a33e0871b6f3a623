"""How densely the sphere of viewing directions is filled, in cells of equal area."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from vitreous.math.cells import cell_of
from vitreous.math.so3 import healpix_axes, order_for
from vitreous.validate.sampling import sampling

_MAX_ORDER = 3
"""Finest map of directions: 768 cells, 7.3 degrees across."""

SLICES_ORDER = 3
"""HEALPix order of the cells that slices are told for."""

_PER_CELL = 8
"""Particles that a cell should hold on average, lest chance alone make the map spotty."""


@dataclass(frozen=True)
class DirectionDensity:
    """Density of viewing directions.

    Attributes
    ----------
    order : int
        HEALPix order of the cells.
    relative : array (12 * 4**order,)
        Density per solid angle over that of an even distribution.
    expected : float
        Directions that a cell would hold were they even.
    """

    order: int
    relative: Float[np.ndarray, " c"]
    expected: float

    @property
    def solid_angle(self) -> float:
        """Of one cell, steradian."""
        return 4 * math.pi / len(self.relative)


def _mates(
    rot: Float[np.ndarray, " n"], tilt: Float[np.ndarray, " n"], operators: torch.Tensor
) -> tuple[np.ndarray, np.ndarray]:
    """Directions with all their symmetry mates."""
    r, t = np.radians(rot), np.radians(tilt)
    unit = np.stack([np.cos(r) * np.sin(t), np.sin(r) * np.sin(t), np.cos(t)], axis=-1)
    x, y, z = np.einsum("nj,sjk->ksn", unit, operators.numpy()).reshape(3, -1)
    return np.degrees(np.arctan2(y, x)), np.degrees(np.arccos(z.clip(-1, 1)))


def cell_order(count: int, sampling: float | None) -> int:
    """Order at which ``count`` directions, searched in steps of ``sampling`` degrees, fill cells.

    Never finer than the grid that was searched, or the cells between its points would look empty.
    """
    finest = _MAX_ORDER if sampling is None else order_for(sampling)
    by_count = math.floor(math.log(max(count, 1) / (12 * _PER_CELL), 4))
    return max(1, min(_MAX_ORDER, finest, by_count))


def direction_density(
    rot: Float[np.ndarray, " n"],
    tilt: Float[np.ndarray, " n"],
    order: int,
    operators: torch.Tensor | None = None,
) -> DirectionDensity:
    """Density of viewing directions per solid angle, relative to an even distribution.

    Parameters
    ----------
    rot, tilt : arrays (n,)
        Degrees.
    order : int
        HEALPix order of the cells.
    operators : tensor (s, 3, 3), optional
        Rotations of the point group: each direction then counts at all its mates.
    """
    if operators is not None and len(operators) > 1:
        rot, tilt = _mates(rot, tilt, operators)
    cells = 12 * 4**order
    expected = max(len(rot), 1) / cells
    counts = np.bincount(cell_of(rot, tilt, order), minlength=cells)
    return DirectionDensity(order, counts / expected, expected)


def relative_slices(
    rot: Float[np.ndarray, " n"], tilt: Float[np.ndarray, " n"], operators: torch.Tensor
) -> Float[np.ndarray, " c"]:
    """Slices through the directions of Fourier space, over their mean, in cells of the sphere.

    Parameters
    ----------
    rot, tilt : arrays (n,)
        Degrees; those that are not known are left out.
    operators : tensor (s, 3, 3)
        Rotations of the point group.

    Returns
    -------
    array (12 * 4**SLICES_ORDER,)
    """
    known = np.isfinite(rot) & np.isfinite(tilt)
    found = sampling(rot[known], tilt[known], operators)
    cells = healpix_axes(SLICES_ORDER)
    mates = (operators @ cells.T).numpy()  # s, 3, cells
    likeness = np.abs(np.einsum("dj,sjc->sdc", found.axes, mates)).max(axis=0)
    slices = found.slices[likeness.argmax(axis=0)]
    return np.asarray(slices / max(slices.mean(), 1e-12))
