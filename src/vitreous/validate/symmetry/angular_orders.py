"""A map's Fourier shells, divided by angular order about an axis.

On a ring round the axis the transform is the sum of f_m exp(i m phi).  A turn by alpha multiplies
f_m by exp(-i m alpha), so the powers of the orders tell how far the map correlates with itself
turned by every angle, and a map with an n-fold axis has no orders but the multiples of n.  A
two-fold turn about an axis across it carries f_m to its conjugate (by Friedel's law), so the sum of
f_m squared tells of all such axes.  One reading of the map serves all Cn and Dn about an axis.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from vitreous.imaging.project import FourierCube, map_to_cube
from vitreous.ops.cubes import read

_SPARSE_ANGLES = 60
"""Angles of a sparse ring: a multiple of 2, 3, 4 and 5."""


@dataclass(frozen=True)
class Rings:
    """Where shells are read: rings round z on one half of each sphere.

    Attributes
    ----------
    points : tensor (shells, rings, angles, 3)
        Frequencies (x, y, z) in steps of 1 / box, shell by shell from radius 1.
    weights : tensor (rings,)
        Share of the half sphere that each ring stands for (Gauss-Legendre in the cosine).
    orders : tensor (angles,)
        Angular order of each coefficient of a ring's Fourier transform, on the host.
    """

    points: Float[Tensor, "k t m 3"]
    weights: Float[Tensor, " t"]
    orders: Int[Tensor, " m"]


def _rings(radius: int, count: int, angles: int, device: torch.device) -> Rings:
    cosine, weight = (part[count:] for part in np.polynomial.legendre.leggauss(2 * count))
    sine, phi = np.sqrt(1 - cosine**2)[:, None], np.arange(angles) * 2 * np.pi / angles
    z = np.broadcast_to(cosine[:, None], (count, angles))
    sphere = np.stack([sine * np.cos(phi), sine * np.sin(phi), z], axis=-1)
    shells = np.arange(1, radius + 1)[:, None, None, None] * sphere
    return Rings(
        torch.from_numpy(shells).float().to(device),
        torch.from_numpy(weight).float().to(device),
        torch.fft.fftfreq(angles, 1 / angles).round().long(),
    )


@dataclass(frozen=True)
class Shells:
    """A map's transform and the rings on which it is read, on the device of the map.

    Attributes
    ----------
    cube : FourierCube
    box : int
    rings : Rings
        Close enough for all angular orders that the map holds.
    sparse : Rings
        A part of them, for groups of many axes: its angles serve folds of 2 to 5, as such turns
        carry one into another.
    """

    cube: FourierCube
    box: int
    rings: Rings
    sparse: Rings

    @property
    def radius(self) -> int:
        """Outermost shell."""
        return len(self.rings.points)


def shells_of(volume: Float[Tensor, "n n n"], radius: int, extent: float) -> Shells:
    """Prepare a map to be read on shells 1 to ``radius``; it fills ``extent`` of its box."""
    highest = math.ceil(math.pi * radius * extent)  # order of a wave that grazes the map's edge
    dense = _rings(radius, highest // 2 + 2, 2 * highest + 4, volume.device)
    sparse = _rings(radius, highest // 12 + 3, _SPARSE_ANGLES, volume.device)
    return Shells(map_to_cube(volume[None], radius + 1), volume.shape[-1], dense, sparse)


def _on_rings(
    shells: Shells, rings: Rings, frames: Float[Tensor, "a 3 3"], centre: Float[Tensor, " 3"]
) -> Complex[Tensor, "a k t m"]:
    """The transform about ``centre`` on rings round each frame's z."""
    points = torch.einsum("ktmj,aij->aktmi", rings.points, frames.to(rings.points))
    values = read(shells.cube, points.reshape(-1, 3))[0].view(points.shape[:-1])
    phase = points @ (centre.to(points) * (2 * math.pi / shells.box))
    return values * torch.polar(torch.ones_like(phase), phase)


def _shell_mean(
    rows: Complex[Tensor, "*a k t"], weights: Float[Tensor, " t"]
) -> Float[Tensor, "*a k"]:
    """Mean over whole shells of their rings' means: real, as opposite points are conjugate."""
    return (rows.real * weights).sum(-1)


def shell_power(
    shells: Shells, centre: Float[Tensor, " 3"]
) -> tuple[Float[Tensor, " k"], Float[Tensor, " k"]]:
    """Mean power on each shell, of all and of what differs from its mean; on the host."""
    values = _on_rings(shells, shells.rings, torch.eye(3)[None], centre)[0]
    weights = shells.rings.weights
    total = (values.abs().square().mean(-1) * weights).sum(-1)
    varied = total - _shell_mean(values.mean(-1), weights).square()
    return total.cpu(), varied.cpu()


def orders_about(
    shells: Shells, rings: Rings, frames: Float[Tensor, "a 3 3"], centre: Float[Tensor, " 3"]
) -> Complex[Tensor, "a k t m"]:
    """Angular orders about axes through ``centre``, each shell's mean taken away.

    They are on the device of the map; frames and centre may lie on the host.

    The mean over a shell is what every rotation leaves as it is, so it tells nothing.

    Parameters
    ----------
    rings : Rings
        Those of ``shells`` to read.
    frames : tensor (axes, 3, 3)
        Columns: where x, y and the axis, z, lie in the map.
    centre : tensor (3,)
        Pixels (x, y, z) from the box centre.
    """
    found = torch.fft.fft(_on_rings(shells, rings, frames, centre), dim=-1, norm="forward")
    found[..., 0] -= _shell_mean(found[..., 0], rings.weights).mean(0)[..., None]
    return found


def order_power(
    found: Complex[Tensor, "*a k t m"], weights: Float[Tensor, " t"]
) -> Float[Tensor, "*a k m"]:
    """Power of each order on each shell."""
    return (found.abs().square() * weights[:, None]).sum(-2)


def order_squares(
    found: Complex[Tensor, "*a k t m"], weights: Float[Tensor, " t"]
) -> Complex[Tensor, "*a k m"]:
    """Sum of each order's coefficients squared: their phases tell of two-fold axes across."""
    return (found.square() * weights[:, None]).sum(-2)


def turning(orders: Int[Tensor, " m"], fold: int) -> Float[Tensor, "m o"]:
    """What turns by 1 to ``fold`` - 1 n-ths of a circle do to the power of each order."""
    turns = torch.arange(1, fold) * (2 * math.pi / fold)
    return torch.cos(orders[:, None] * turns)


def flipping(orders: Int[Tensor, " m"], azimuths: Float[Tensor, " o"]) -> Complex[Tensor, "m o"]:
    """What two-fold turns about axes across, at ``azimuths`` from x (radians), do to the squares.

    The real part of squares times this is the correlation.
    """
    sign = 1 - 2 * (orders % 2)
    phase = 2 * orders[:, None] * azimuths
    return sign[:, None] * torch.polar(torch.ones_like(phase), phase)
