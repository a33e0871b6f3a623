"""Poses of a particle table, and particles centred on another point of the map."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from vitreous.errors import InputError
from vitreous.math.rotations import euler_to_matrix
from vitreous.particles.columns import numbers
from vitreous.particles.table import ParticleTable

ANGLES = ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")


@dataclass(frozen=True)
class Poses:
    """Orientations and origins.

    Attributes
    ----------
    angles : float64 array (particles, 3)
        Rot, tilt, psi, degrees.
    origins : float64 array (particles, 2)
        x, y in angstrom; the particle sits at minus these.
    """

    angles: Float[np.ndarray, "n 3"]
    origins: Float[np.ndarray, "n 2"]

    @property
    def matrices(self) -> Float[np.ndarray, "n 3 3"]:
        """Volume to image frame."""
        return euler_to_matrix(*torch.from_numpy(self.angles.T.copy())).numpy()

    def projected(self, point: Float[np.ndarray, "#n 3"]) -> Float[np.ndarray, "n 2"]:
        """Where a point of the map, or one for each image, lies in the centred images.

        x, y, z from the map's centre.
        """
        return np.asarray((self.matrices[:, :2] @ point[..., None])[..., 0])

    def centred_on(self, point: Float[np.ndarray, " 3"]) -> Poses:
        """Poses of the same images for a map whose centre is this point (angstrom) of the old."""
        return Poses(self.angles, self.origins - self.projected(point[None]))


def require_columns(table: ParticleTable, names: tuple[str, ...], hint: str) -> None:
    """Require columns of the particles' block.

    Raises
    ------
    InputError
        Naming those that are missing.
    """
    missing = [name for name in names if name not in table.columns]
    if missing:
        plural = "s" if len(missing) > 1 else ""
        raise InputError(
            f"no column{plural} {', '.join('_' + name for name in missing)}",
            where=table.path,
            hint=hint,
        )


def read_origins(table: ParticleTable) -> Float[np.ndarray, "n 2"]:
    """Origins (x, y) in angstrom, from either of RELION's layouts; 0 where there are none."""
    origins = np.zeros((len(table), 2))
    for place, axis in enumerate("XY"):
        for name, unit in ((f"rlnOrigin{axis}Angst", 1.0), (f"rlnOrigin{axis}", table.pixel_sizes)):
            if name in table.columns:
                origins[:, place] = numbers(table.block, name, table.path) * unit
                break
    return origins


def read_poses(table: ParticleTable) -> Poses:
    """Poses of all particles.

    Raises
    ------
    InputError
        Without angles, or for a cell that holds no number.
    """
    require_columns(table, ANGLES, "give particles with poses, as a refinement writes them")
    angles = [numbers(table.block, name, table.path) for name in ANGLES]
    return Poses(np.stack(angles, axis=1), read_origins(table))


def recentred(table: ParticleTable, point: Float[np.ndarray, " 3"]) -> ParticleTable:
    """Particles centred on a point of the map.

    Parameters
    ----------
    table : ParticleTable
    point : array (3,)
        x, y, z in angstrom from the map's centre.

    Notes
    -----
    The point lies at A point - origin in the image, so its own origin is origin - A point:
    ``relion_star_handler --center``.
    """
    return table.with_origins(*read_poses(table).centred_on(np.asarray(point, float)).origins.T)


_COORDINATES = ("rlnCoordinateX", "rlnCoordinateY")


def has_coordinates(table: ParticleTable) -> bool:
    """Whether the table says where the particles lie on their micrographs."""
    return set(_COORDINATES) <= set(table.columns)


def read_coordinates(table: ParticleTable) -> Float[np.ndarray, "n 2"]:
    """Coordinates (x, y) in pixels of the micrographs.

    Raises
    ------
    InputError
        Without them, or for a cell that holds no number.
    """
    require_columns(table, _COORDINATES, "give particles with their places on the micrographs")
    return np.stack([numbers(table.block, name, table.path) for name in _COORDINATES], axis=1)


def with_coordinates(table: ParticleTable, xy: Float[np.ndarray, "n 2"]) -> ParticleTable:
    """Table with these coordinates, in pixels of the micrographs."""
    return table.with_cells(rlnCoordinateX=xy[:, 0], rlnCoordinateY=xy[:, 1])
