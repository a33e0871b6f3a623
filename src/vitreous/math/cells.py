"""Which HEALPix cell a direction lies in."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from vitreous.math.so3 import healpix_directions


def _plane_key(
    rot: Float[np.ndarray, "*n"], tilt: Float[np.ndarray, "*n"], order: int
) -> Int[np.ndarray, "*n"]:
    """A number that is the same for all directions of one HEALPix cell.

    In HEALPix's projection (Gorski et al., ApJ 622, 759 (2005), section 5.3) the cells are equal
    squares standing on a corner, so that turning the plane by 45 degrees makes cell membership
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
