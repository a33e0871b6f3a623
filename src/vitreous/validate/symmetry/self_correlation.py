"""How far a map is left as it is by the rotations of a point group laid somewhere in it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from vitreous.math.rotations import frame_along
from vitreous.math.symmetry import point_group, rotation_axes
from vitreous.validate.symmetry.angular_orders import (
    Rings,
    Shells,
    flipping,
    order_power,
    order_squares,
    orders_about,
    turning,
)


@dataclass(frozen=True)
class Placement:
    """Where the axes of a point group lie in a map.

    Attributes
    ----------
    frame : float64 tensor (3, 3)
        Columns: x, y and z of the group's standard setting.
    centre : float64 tensor (3,)
        Where its axes meet, pixels (x, y, z) from the box centre.
    """

    frame: Float[Tensor, "3 3"]
    centre: Float[Tensor, " 3"]


def is_axial(group: str) -> bool:
    """Whether a group is a Cn or Dn, which has one main axis."""
    return group[0] in "CD"


@lru_cache
def cyclic_axes(group: str) -> tuple[Float[Tensor, "a 3 3"], tuple[int, ...]]:
    """Frames along the axes that tell of a group, and their folds.

    Of Cn and Dn the main axis; of T, O and I all.
    """
    if is_axial(group):
        return torch.eye(3, dtype=torch.float64)[None], (int(group[1:]),)
    axes = rotation_axes(point_group(group))
    return torch.stack([frame_along(axis) for axis, _ in axes]), tuple(n for _, n in axes)


def _rings(shells: Shells, group: str) -> Rings:
    return shells.rings if is_axial(group) else shells.sparse


def varying_orders(shells: Shells, group: str, placement: Placement) -> Complex[Tensor, "a k t m"]:
    """A map's angular orders about a group's axes, without what any such group leaves as it is.

    About the axis of a Cn the rotational average is the same for all n, and for C1 maps alike: it
    would make every rod seem symmetric.  A Dn may also turn it over, so of the average only its
    even part is idle.  T, O and I have the mean over each shell in common, which is gone already.
    """
    frames = placement.frame @ cyclic_axes(group)[0]
    found = orders_about(shells, _rings(shells, group), frames, placement.centre)
    if group[0] == "C":
        found[..., 0] = 0
    elif group[0] == "D":
        found[..., 0] = 1j * found[..., 0].imag
    return found


def varying_power(shells: Shells, group: str, placement: Placement) -> Float[Tensor, " k"]:
    """Power on each shell of what :func:`varying_orders` keeps; on the host."""
    found = varying_orders(shells, group, placement)
    return order_power(found, _rings(shells, group).weights).sum(-1).mean(0).cpu()


def products(
    shells: Shells, group: str, placement: Placement
) -> tuple[Float[Tensor, "o k"], Float[Tensor, "o k"]]:
    """Products of a map with itself turned by each rotation of a group but the identity.

    Returns
    -------
    products, powers : tensors (operators, shells)
        On the host; their ratio is the correlation.
    """
    found = varying_orders(shells, group, placement)
    rings = _rings(shells, group)
    weights, orders = rings.weights, rings.orders
    power, folds = order_power(found, weights).cpu(), cyclic_axes(group)[1]
    turned = [part @ turning(orders, n) for part, n in zip(power, folds, strict=True)]
    counts = [n - 1 for n in folds]
    if group[0] == "D":
        azimuths = torch.arange(folds[0]) * (torch.pi / folds[0])
        squares = order_squares(found, weights)[0].cpu()
        turned.append((squares @ flipping(orders, azimuths)).real)
        counts[0] += folds[0]
    total = power.sum(-1).repeat_interleave(torch.tensor(counts), dim=0)
    return torch.cat(turned, dim=1).T, total


def correlations(
    shells: Shells, weights: Float[Tensor, " k"], group: str, placement: Placement
) -> Float[Tensor, " o"]:
    """Correlation with the map turned by each rotation, over all shells."""
    crossed, power = products(shells, group, placement)
    return (crossed @ weights) / (power @ weights).clamp(min=1e-30)
