"""Euler angles, matrices and quaternions, in RELION's convention (see ``conventions``)."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from scipy.spatial.transform import Rotation
from torch import Tensor


def axis_rotation(angle: Float[Tensor, "*b"], axis: int) -> Float[Tensor, "*b 3 3"]:
    """Matrix that turns points by ``angle`` radians about coordinate axis 0, 1 or 2."""
    c, s = torch.cos(angle), torch.sin(angle)
    matrix = torch.zeros(*angle.shape, 3, 3, dtype=angle.dtype, device=angle.device)
    i, j = (axis + 1) % 3, (axis + 2) % 3
    matrix[..., axis, axis] = 1
    matrix[..., i, i] = c
    matrix[..., j, j] = c
    matrix[..., i, j] = -s
    matrix[..., j, i] = s
    return matrix


def turn_by(vectors: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3 3"]:
    """Rotation matrices of rotation vectors, radians."""
    x, y, z = vectors.unbind(-1)
    zero = torch.zeros_like(x)
    crossed = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1)
    return torch.linalg.matrix_exp(crossed.view(-1, 3, 3))


def euler_to_matrix(
    rot: Float[Tensor, "*b"], tilt: Float[Tensor, "*b"], psi: Float[Tensor, "*b"]
) -> Float[Tensor, "*b 3 3"]:
    """Matrix A that carries volume points (x, y, z) into the image frame; angles in degrees.

    A = (Rz(rot) Ry(tilt) Rz(psi)) transposed, as RELION's Euler_angles2matrix.
    """
    rot, tilt, psi = (torch.deg2rad(angle) for angle in (rot, tilt, psi))
    turned = axis_rotation(rot, 2) @ axis_rotation(tilt, 1) @ axis_rotation(psi, 2)
    return turned.transpose(-1, -2)


def matrix_to_euler(matrix: Float[Tensor, "*b 3 3"]) -> Float[Tensor, "*b 3"]:
    """Rot, tilt, psi in degrees of matrices made by :func:`euler_to_matrix`; tilt in [0, 180]."""
    turned = matrix.transpose(-1, -2).double()
    tilt = torch.arccos(turned[..., 2, 2].clamp(-1, 1))
    # At the poles only rot + psi (or psi - rot) is defined: give it all to rot.
    pole = torch.sin(tilt).abs() < 1e-7
    rot = torch.where(
        pole,
        torch.atan2(turned[..., 1, 0] * turned[..., 2, 2], turned[..., 1, 1]),
        torch.atan2(turned[..., 1, 2], turned[..., 0, 2]),
    )
    psi = torch.where(
        pole, torch.zeros_like(rot), torch.atan2(turned[..., 2, 1], -turned[..., 2, 0])
    )
    return torch.rad2deg(torch.stack([rot, tilt, psi], dim=-1)).to(matrix.dtype)


def frame_along(axis: Float[Tensor, " 3"]) -> Float[Tensor, "3 3"]:
    """Some rotation that carries z to ``axis`` (a unit vector)."""
    tilt = torch.arccos(axis[2].clamp(-1, 1))
    return axis_rotation(torch.atan2(axis[1], axis[0]), 2) @ axis_rotation(tilt, 1)


def random_rotations(count: int, seed: int) -> Float[Tensor, "n 3 3"]:
    """Rotations uniform on SO(3), float64."""
    rng = np.random.default_rng(seed)
    return torch.from_numpy(Rotation.random(count, random_state=rng).as_matrix().copy())


def angular_distance(
    a: Float[Tensor, "*#b 3 3"], b: Float[Tensor, "*#b 3 3"]
) -> Float[Tensor, "*c"]:
    """Angle in degrees of the rotation between ``a`` and ``b``."""
    # The chord, unlike arccos of the trace, keeps its precision near zero.
    chord = torch.linalg.matrix_norm(a - b) / (2 * 2**0.5)
    return torch.rad2deg(2 * torch.arcsin(chord.clamp(0, 1)))


def view_direction(rot: Float[Tensor, "*b"], tilt: Float[Tensor, "*b"]) -> Float[Tensor, "*b 3"]:
    """Unit vector (x, y, z) of the volume that an image looks along; angles in degrees."""
    return euler_to_matrix(rot, tilt, torch.zeros_like(rot))[..., 2, :]
