"""Every particle once for each of its symmetry mates' poses."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float

from vitreous.math.rotations import matrix_to_euler
from vitreous.math.symmetry import point_group
from vitreous.particles.particle_set import ParticleSet
from vitreous.particles.poses import read_poses


def mates(
    matrices: Float[np.ndarray, "n 3 3"], operators: Float[np.ndarray, "s 3 3"]
) -> Float[np.ndarray, "n s 3 3"]:
    """Matrices of the poses that a symmetric map cannot tell from these.

    A map that is the same under R looks the same through A and A R.
    """
    return matrices[:, None] @ operators


def expand_symmetry(table: ParticleSet, symmetry: str) -> ParticleSet:
    """Table with a row for every particle and operator of a point group, its own pose first.

    Images and all columns but the angles stay those of the particle; ``symmetry_operator`` numbers
    the copies from 1, its own pose.

    Parameters
    ----------
    table : ParticleSet
    symmetry : str
        Cn, Dn, T, O, I, I1 to I4, as :func:`vitreous.math.symmetry.point_group` lays them.

    Raises
    ------
    VitreousError
        For a name that is no point group, and particles without poses.
    """
    operators = point_group(symmetry).numpy()
    poses, count = read_poses(table), len(operators)
    expanded = torch.from_numpy(mates(poses.matrices, operators).reshape(-1, 3, 3))
    angles = matrix_to_euler(expanded).numpy()
    angles[::count] = poses.angles  # its own angles, not others of the same rotation
    copies = table.take(np.repeat(np.arange(len(table)), count))
    operator = np.tile(np.arange(1, count + 1), len(table))
    rot, tilt, psi = angles.T
    return copies.with_fields(rot=rot, tilt=tilt, psi=psi, symmetry_operator=operator)
