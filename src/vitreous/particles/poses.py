"""Poses of a particle table, and particles centred on another point of the map."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from vitreous.particles.particle_set import ParticleSet

ANGLES = (ParticleSet.rot, ParticleSet.tilt, ParticleSet.psi)


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
    def fields(self) -> dict[str, Float[np.ndarray, " n"]]:
        """Fields of a particle set that hold them."""
        rot, tilt, psi = self.angles.T
        return {"rot": rot, "tilt": tilt, "psi": psi, **origin_fields(self.origins)}

    @property
    def matrices(self) -> Float[np.ndarray, "n 3 3"]:
        """Volume to image frame."""
        import torch  # a conversion of files goes without

        from vitreous.math.rotations import euler_to_matrix

        return euler_to_matrix(*torch.from_numpy(self.angles.T.copy())).numpy()

    def projected(self, point: Float[np.ndarray, "#n 3"]) -> Float[np.ndarray, "n 2"]:
        """Where a point of the map, or one for each image, lies in the centred images.

        x, y, z from the map's centre.
        """
        return np.asarray((self.matrices[:, :2] @ point[..., None])[..., 0])

    def centred_on(self, point: Float[np.ndarray, " 3"]) -> Poses:
        """Poses of the same images for a map whose centre is this point (angstrom) of the old."""
        return Poses(self.angles, self.origins - self.projected(point[None]))


def origin_fields(origins: Float[np.ndarray, "n 2"]) -> dict[str, Float[np.ndarray, " n"]]:
    """Fields of a particle set that hold origins (x, y), angstrom."""
    return {"origin_x": origins[:, 0], "origin_y": origins[:, 1]}


def read_origins(table: ParticleSet) -> Float[np.ndarray, "n 2"]:
    """Origins (x, y) in angstrom; 0 where there are none."""
    x, y = table.origin_x, table.origin_y
    none = np.zeros(len(table))
    return np.stack([none if x is None else x, none if y is None else y], axis=1)


def read_poses(table: ParticleSet) -> Poses:
    """Poses of all particles.

    Raises
    ------
    InputError
        Without angles, or for a cell that holds no number.
    """
    hint = "give particles with poses, as a refinement writes them"
    table.require(*ANGLES, hint=hint)
    angles = [table.required(field, hint) for field in ANGLES]
    return Poses(np.stack(angles, axis=1), read_origins(table))


def recentred(table: ParticleSet, point: Float[np.ndarray, " 3"]) -> ParticleSet:
    """Particles centred on a point of the map.

    Parameters
    ----------
    table : ParticleSet
    point : array (3,)
        x, y, z in angstrom from the map's centre.

    Notes
    -----
    The point lies at A point - origin in the image, so its own origin is origin - A point:
    ``relion_star_handler --center``.
    """
    centred = read_poses(table).centred_on(np.asarray(point, float))
    return table.with_fields(**origin_fields(centred.origins))


_COORDINATES = (ParticleSet.x, ParticleSet.y)


def has_coordinates(table: ParticleSet) -> bool:
    """Whether the table says where the particles lie on their micrographs."""
    return table.has(*_COORDINATES)


def read_coordinates(table: ParticleSet) -> Float[np.ndarray, "n 2"]:
    """Coordinates (x, y) in pixels of the micrographs.

    Raises
    ------
    InputError
        Without them, or for a cell that holds no number.
    """
    hint = "give particles with their places on the micrographs"
    table.require(*_COORDINATES, hint=hint)
    return np.stack([table.required(field, hint) for field in _COORDINATES], axis=1)


def with_coordinates(table: ParticleSet, xy: Float[np.ndarray, "n 2"]) -> ParticleSet:
    """Table with these coordinates, in pixels of the micrographs."""
    return table.with_fields(x=xy[:, 0], y=xy[:, 1])
