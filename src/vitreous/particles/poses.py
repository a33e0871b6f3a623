"""Poses that particles already have."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vitreous.errors import InputError
from vitreous.math.rotations import euler_to_matrix
from vitreous.particles.columns import numbers
from vitreous.particles.table import ParticleTable

_ANGLES = ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")


@dataclass(frozen=True)
class Poses:
    """Orientations and shifts of particles.

    Attributes
    ----------
    angles : float64 array (particles, 3)
        Rot, tilt and psi, degrees.
    origins : float64 array (particles, 2)
        Shifts along x and y that centre the particles, angstrom.
    centred : bool
        Whether the table holds no origins, so that they were taken as zero.
    """

    angles: Float[np.ndarray, "n 3"]
    origins: Float[np.ndarray, "n 2"]
    centred: bool

    def matrices(self, rows: np.ndarray) -> Float[Tensor, "m 3 3"]:
        """From the volume to the image frame, of some particles (float64)."""
        return euler_to_matrix(*torch.from_numpy(self.angles[rows].T.copy()))


def _origins(table: ParticleTable) -> Float[np.ndarray, "n 2"] | None:
    """Origins in angstrom, from RELION 3.1's columns or, in pixels, from those before."""
    in_angstrom = [f"rlnOrigin{axis}Angst" for axis in "XY"]
    if set(in_angstrom) <= set(table.columns):
        return np.stack([numbers(table.block, name, table.path) for name in in_angstrom], axis=1)
    in_pixels = ["rlnOriginX", "rlnOriginY"]
    if not set(in_pixels) <= set(table.columns):
        return None
    pixel_size = np.array([group.pixel_size for group in table.optics])[table.group]
    pixels = [numbers(table.block, name, table.path) for name in in_pixels]
    return np.stack(pixels, axis=1) * pixel_size[:, None]


def read_poses(table: ParticleTable) -> Poses:
    """Poses in a table's columns.

    Raises
    ------
    InputError
        If a column of angles is missing, or one holds other than numbers.
    """
    missing = [name for name in _ANGLES if name not in table.columns]
    if missing:
        raise InputError(
            f"no poses: the columns {', '.join('_' + name for name in missing)} are missing",
            where=table.path,
            mend="give the STAR file of a refinement, a classification or vitreous abinit",
        )
    angles = [numbers(table.block, name, table.path) for name in _ANGLES]
    origins = _origins(table)
    found = np.zeros((len(table), 2)) if origins is None else origins
    return Poses(np.stack(angles, axis=1), found, origins is None)
