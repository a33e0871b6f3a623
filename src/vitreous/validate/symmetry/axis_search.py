"""Where the axes of each point group would lie in a map."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Complex, Float
from scipy.optimize import minimize
from scipy.spatial.transform import Rotation
from torch import Tensor

from vitreous.math.rotations import axis_rotation
from vitreous.math.so3 import orientation_grid
from vitreous.math.symmetry import point_group
from vitreous.validate.symmetry.angular_orders import (
    Shells,
    flipping,
    order_power,
    order_squares,
    orders_about,
    turning,
)
from vitreous.validate.symmetry.self_correlation import (
    Placement,
    correlations,
    cyclic_axes,
    is_axial,
)

_AXIS_ORDER = 4
"""HEALPix order of the axes tried: 1,536 on half a sphere, 3.7 degrees apart."""

_CHUNK = 64
"""Axes read at a time."""

_APART = math.cos(math.radians(10))
"""Cosine of the least angle between two peaks."""

_SPINS, _MAIN_AXES = 40, 16
"""Angles tried about each main axis, and main axes tried of T, O and I."""

_STEP = 0.5
"""First steps of the refinement, in what moves the outermost shell by about a voxel."""


@dataclass(frozen=True)
class AxisTable:
    """What turns about many axes through one centre do to a map, over all shells; on the host.

    Attributes
    ----------
    frames : float64 tensor (axes, 3, 3)
    power : tensor (axes, orders)
        Whitened power of each angular order.
    squares : tensor (axes, orders)
        The same for the sum of its coefficients squared.
    shells : Shells
    centre : tensor (3,)
    """

    frames: Float[Tensor, "a 3 3"]
    power: Float[Tensor, "a m"]
    squares: Complex[Tensor, "a m"]
    shells: Shells
    centre: Float[Tensor, " 3"]

    @property
    def varying(self) -> Float[Tensor, " a"]:
        """Power that is not the same all round each axis."""
        return self.power[:, 1:].sum(1).clamp(min=1e-30)


def tabulate(
    shells: Shells, weights: Float[Tensor, " k"], centre: Float[Tensor, " 3"]
) -> AxisTable:
    """Read a map about axes all over half a sphere."""
    frames = orientation_grid(_AXIS_ORDER, point_group("C1")).directions
    x, y, z = frames[:, :, 2].T
    frames = frames[(z > 1e-9) | ((z.abs() <= 1e-9) & ((y > 0) | ((y == 0) & (x > 0))))]
    power, squares = [], []
    for part in frames.split(_CHUNK):
        found = orders_about(shells, shells.rings, part, centre)
        own = order_power(found, shells.rings.weights).cpu()
        power.append(torch.einsum("akm,k->am", own, weights))
        square = order_squares(found, shells.rings.weights).cpu()
        squares.append(torch.einsum("akm,k->am", square, weights.to(square.dtype)))
    return AxisTable(frames, torch.cat(power), torch.cat(squares), shells, centre)


def _peaks(score: Float[Tensor, " a"], frames: Float[Tensor, "a 3 3"], count: int) -> list[int]:
    """Best axes, none within ten degrees of a better one."""
    found: list[int] = []
    for n in score.argsort(descending=True).tolist():
        if all(abs(float(frames[n, :, 2] @ frames[m, :, 2])) < _APART for m in found):
            found.append(n)
        if len(found) == count:
            break
    return found


def _cyclic(table: AxisTable, fold: int) -> Float[Tensor, " a"]:
    """Sum of the correlations under the turns of an n-fold axis."""
    turned = table.power[:, 1:] @ turning(table.shells.rings.orders[1:], fold)
    return turned.sum(1) / table.varying


def _spun(
    frames: Float[Tensor, "*#a 3 3"], angles: Float[Tensor, "*#a"]
) -> Float[Tensor, "*b 3 3"]:
    return frames @ axis_rotation(angles.double(), 2)


def _axial(table: AxisTable, group: str) -> tuple[Float[Tensor, " a"], Float[Tensor, "a 3 3"]]:
    """Mean correlation of a Cn or Dn on every axis; a Dn's x axis put where it is best."""
    fold = int(group[1:])
    score = _cyclic(table, fold)
    if group[0] == "C":
        return score / (fold - 1), table.frames
    azimuths = torch.arange(fold * _SPINS) * (math.pi / (fold * _SPINS))
    flipped = table.squares[:, 1:] @ flipping(table.shells.rings.orders[1:], azimuths)
    flipped = flipped.real.view(-1, fold, _SPINS).sum(1) / table.varying[:, None]
    best, place = flipped.max(dim=1)
    return (score + best) / (2 * fold - 1), _spun(table.frames, azimuths[place])


def _polyhedral(table: AxisTable, group: str) -> tuple[Float[Tensor, " a"], Float[Tensor, "a 3 3"]]:
    """The same for T, O or I: the best main axes spun, all other axes looked up."""
    frames, folds = cyclic_axes(group)
    main = _peaks(_cyclic(table, folds[0]), table.frames, _MAIN_AXES)
    spins = torch.arange(_SPINS) * (2 * math.pi / (folds[0] * _SPINS))
    laid = _spun(table.frames[main][:, None], spins) @ frames[0].T  # axes, spins, 3, 3
    total, power = torch.zeros(laid.shape[:2]), table.power.sum(1)
    for along, fold in zip(frames[:, :, 2], folds, strict=True):
        turned = (table.power @ turning(table.shells.rings.orders, fold)).sum(1) / power
        nearest = (laid @ along @ table.frames[:, :, 2].T).abs().argmax(dim=-1)
        total += turned[nearest]
    best, spin = (total / sum(fold - 1 for fold in folds)).max(dim=1)
    return best, laid[torch.arange(len(laid)), spin]


def placements(table: AxisTable, group: str, count: int) -> list[tuple[float, Placement]]:
    """Best places on the grid for a group's axes, each with its mean correlation."""
    score, frames = _axial(table, group) if is_axial(group) else _polyhedral(table, group)
    best = _peaks(score, frames, count)
    return [(float(score[n]), Placement(frames[n], table.centre.double())) for n in best]


def refined(
    shells: Shells, weights: Float[Tensor, " k"], group: str, start: Placement
) -> tuple[float, Placement]:
    """Mean correlation over a group's rotations at the maximum nearest to ``start``."""
    # A cyclic group leaves the turn about its axis, and the place along it, open.
    free = [0, 1, 3, 4] if group[0] == "C" else [0, 1, 2, 3, 4, 5]
    angle, length = _STEP / shells.radius, _STEP * shells.box / (math.pi * shells.radius)

    def moved(parameters: np.ndarray) -> Placement:
        change = np.zeros(6)
        change[free] = parameters
        turn = torch.from_numpy(Rotation.from_rotvec(change[:3] * angle).as_matrix())
        step = start.frame @ torch.from_numpy(change[3:] * length)
        return replace(start, frame=start.frame @ turn, centre=start.centre + step)

    def loss(parameters: np.ndarray) -> float:
        return -float(correlations(shells, weights, group, moved(parameters)).mean())

    simplex = np.vstack([np.zeros(len(free)), np.eye(len(free))])
    best = minimize(
        loss,
        simplex[0],
        method="Nelder-Mead",
        options={"initial_simplex": simplex, "xatol": 0.05, "fatol": 1e-4, "maxfev": 150},
    )
    return -float(best.fun), moved(best.x)
