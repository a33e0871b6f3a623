"""Orientations and origins of a particle table."""

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
    """How every particle lies.

    Attributes
    ----------
    angles : float64 array (particles, 3)
        Rot, tilt, psi in degrees.
    origins : float64 array (particles, 2)
        Shifts (x, y) that centre the particles, angstrom.
    """

    angles: Float[np.ndarray, "n 3"]
    origins: Float[np.ndarray, "n 2"]

    def matrices(self, rows: np.ndarray) -> Float[Tensor, "m 3 3"]:
        """Matrices (volume to image frame) of some particles, float64."""
        return euler_to_matrix(*torch.from_numpy(self.angles[rows]).unbind(1))


def read_poses(table: ParticleTable) -> Poses:
    """Poses from a table's columns; origins are zero where no column tells them.

    Raises
    ------
    InputError
        If it has no orientations, or a cell is no number.
    """
    missing = [name for name in _ANGLES if name not in table.columns]
    if missing:
        raise InputError(
            f"no orientations: the columns {', '.join('_' + n for n in missing)} are missing",
            where=table.path,
            mend="give the particles of a finished refinement",
        )

    def column(name: str) -> np.ndarray:
        return numbers(table.block, name, table.path)

    pixel = np.array([group.pixel_size for group in table.optics])[table.group]
    origins = np.zeros((len(table), 2))
    for axis, letter in enumerate("XY"):
        if f"rlnOrigin{letter}Angst" in table.columns:
            origins[:, axis] = column(f"rlnOrigin{letter}Angst")
        elif f"rlnOrigin{letter}" in table.columns:
            origins[:, axis] = column(f"rlnOrigin{letter}") * pixel
    return Poses(np.stack([column(name) for name in _ANGLES], axis=1), origins)
