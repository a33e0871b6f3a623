"""How densely the sphere of viewing directions is filled, in cells of equal area."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int

from vitreous.math.so3 import healpix_directions, order_for

_MAX_ORDER = 3
"""Finest map of directions: 768 cells, 7.3 degrees across."""

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


def _plane_key(
    rot: Float[np.ndarray, "*n"], tilt: Float[np.ndarray, "*n"], order: int
) -> Int[np.ndarray, "*n"]:
    """A number that is the same for all directions of one HEALPix cell.

    In HEALPix's projection (Gorski et al., ApJ 622, 759 (2005), section 5.3) the cells are equal
    squares standing on a corner, so that rotating the plane by 45 degrees makes cell membership
    a rounding.  Lengths in the plane are in quarter turns of longitude.
    """
    nside = 2**order
    z = np.cos(np.radians(tilt))
    turn = np.mod(np.asarray(rot, dtype=float), 360.0) / 90.0 % 4.0
    # Towards a pole each quarter of the sphere narrows to a point about its middle; staying a
    # hair inside keeps points on its border in their own quarter.
    narrow = np.clip(np.sqrt(3 * (1 - np.abs(z))), 1e-7, 1.0)
    middle = np.floor(turn) + 0.5
    cap = np.abs(z) > 2 / 3
    along = np.where(cap, middle + (turn - middle) * (narrow - 1e-9), turn)
    height = np.where(cap, np.sign(z) * (1 - narrow / 2), 0.75 * z)
    up = np.floor(nside * (along + height + 0.5)).astype(int)
    down = np.floor(nside * (along - height + 0.5)).astype(int)
    key: np.ndarray = (up - down + 2 * nside) * 4 * nside + up % (4 * nside)
    return key


def cell_of(
    rot: Float[np.ndarray, "*n"], tilt: Float[np.ndarray, "*n"], order: int
) -> Int[np.ndarray, "*n"]:
    """Index of the HEALPix cell (ring scheme) that each direction lies in.

    Parameters
    ----------
    rot, tilt : arrays
        Degrees.
    order : int
        12 * 4**order cells, each of solid angle 4 pi over their number.
    """
    centres = _plane_key(*healpix_directions(order), order)
    by_key = np.argsort(centres)
    place = np.searchsorted(centres[by_key], _plane_key(rot, tilt, order))
    return by_key[place]


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
