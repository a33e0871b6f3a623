"""Even grids on the sphere and on SO(3): HEALPix directions times in-plane angles."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.spatial.transform import Rotation
from torch import Tensor

from vitreous.math.rotations import axis_rotation, view_direction
from vitreous.math.symmetry import asymmetric_unit


def healpix_directions(order: int) -> tuple[np.ndarray, np.ndarray]:
    """Centres of the HEALPix pixels in the ring scheme.

    Parameters
    ----------
    order : int
        Subdivision; 12 * 4**order pixels.

    Returns
    -------
    rot, tilt : float64 arrays of the pixels' longitude and colatitude, in degrees.

    Notes
    -----
    Gorski et al., ApJ 622, 759 (2005), equations 4 to 9.
    """
    nside = 2**order
    rots, zs = [], []
    for ring in range(1, 4 * nside):
        from_pole = min(ring, 4 * nside - ring)
        if from_pole < nside:
            count = 4 * from_pole
            z = 1 - from_pole**2 / (3 * nside**2)
            z = z if ring < 2 * nside else -z
            first = 0.5
        else:
            count = 4 * nside
            z = (4 - 2 * ring / nside) / 3
            first = 0.5 if (ring - nside) % 2 == 0 else 0.0
        rots.append((np.arange(count) + first) * 360 / count)
        zs.append(np.full(count, z))
    return np.concatenate(rots), np.degrees(np.arccos(np.concatenate(zs)))


def healpix_axes(order: int) -> Float[Tensor, "d 3"]:
    """Unit vectors (x, y, z) to the centres of the HEALPix pixels."""
    return view_direction(*(torch.from_numpy(a) for a in healpix_directions(order)))


def order_for(step: float) -> int:
    """Order whose in-plane step is nearest to ``step`` degrees (15 degrees is order 2)."""
    return max(0, round(math.log2(60 / step)))


@dataclass(frozen=True)
class OrientationGrid:
    """Directions (as matrices to the volume's frame) times equally spaced in-plane angles.

    Attributes
    ----------
    directions : float64 tensor (directions, 3, 3)
        Rz(rot) Ry(tilt) Rz(first in-plane angle): carries an image-frame frequency at psi = 0
        into the volume.
    n_psi : int
        Number of in-plane angles, even.
    """

    directions: Float[Tensor, "d 3 3"]
    n_psi: int

    @property
    def psi(self) -> Float[Tensor, " p"]:
        """In-plane angles in radians, from 0."""
        return torch.arange(self.n_psi, dtype=torch.float64) * (2 * math.pi / self.n_psi)

    def matrices(self, direction: Tensor, psi: Tensor) -> Float[Tensor, "n 3 3"]:
        """Matrices A (volume to image) of the orientations at these indices."""
        turned = self.directions[direction] @ axis_rotation(self.psi[psi], 2)
        return turned.transpose(-1, -2)


def _random_turn(step: float, seed: int) -> tuple[Float[Tensor, "3 3"], float]:
    """Rotation about a random axis and an in-plane offset, each within half a step."""
    rng = np.random.default_rng(seed)
    half = math.radians(step) / 2
    axis = rng.normal(size=3)
    vector = axis / np.linalg.norm(axis) * half * rng.uniform(-1, 1)
    turn = torch.from_numpy(Rotation.from_rotvec(vector).as_matrix())
    return turn, half * rng.uniform(-1, 1)


def orientation_grid(
    order: int, operators: Float[Tensor, "s 3 3"], seed: int | None = None
) -> OrientationGrid:
    """Grid of HEALPix ``order`` over the asymmetric unit of a point group.

    Parameters
    ----------
    order : int
        HEALPix order; the in-plane step is 60 / 2**order degrees.
    operators : tensor (operators, 3, 3)
        Rotations of the point group, identity included.
    seed : int, optional
        Turns the grid as a whole by a random rotation of up to half a step, so that successive
        iterations sample different orientations and the gaps of a coarse grid do not stay empty
        in the map (Scheres, J. Struct. Biol. 180, 519 (2012), section 2.2).
    """
    rot, tilt = (torch.deg2rad(torch.from_numpy(a)) for a in healpix_directions(order))
    directions = axis_rotation(rot, 2) @ axis_rotation(tilt, 1)
    n_psi = 6 * 2**order
    if seed is not None:
        turn, offset = _random_turn(360 / n_psi, seed)
        directions = turn @ directions @ axis_rotation(torch.tensor(offset, dtype=turn.dtype), 2)
    keep = asymmetric_unit(directions[:, :, 2], operators)
    return OrientationGrid(directions[keep], n_psi)


def neighbours(
    fine: OrientationGrid,
    coarse: OrientationGrid,
    operators: Float[Tensor, "s 3 3"],
    reach: float,
) -> Bool[Tensor, "c f"]:
    """Which directions of ``fine`` lie within ``reach`` degrees of each direction of ``coarse``.

    Symmetry mates count as one direction.
    """
    mates = operators @ coarse.directions[:, None, :, 2, None]  # coarse, operators, 3, 1
    closest = (mates[..., 0] @ fine.directions[:, :, 2].T).amax(dim=1)
    return closest >= math.cos(math.radians(reach))


def orientations_at(step: float, operators: int) -> float:
    """About how many orientations the asymmetric unit has at an angular step in degrees."""
    return 72 * 8 ** order_for(step) / operators
