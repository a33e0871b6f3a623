"""How far a pass turned and moved the particles."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

_SHARES = (0.5, 0.9)
"""Of the particles that changed by no more than what is told."""

_MOST = 1_000_000
"""Particles whose changes are sorted."""


@dataclass(frozen=True)
class Change:
    """Changes that half and nine tenths of the particles do not exceed.

    Attributes
    ----------
    angles : tuple of float
        Degrees.
    shifts : tuple of float
        Angstrom.
    """

    angles: tuple[float, ...]
    shifts: tuple[float, ...]


def turned_by(
    before: Float[Tensor, "n 3 3"], after: Float[Tensor, "n 3 3"], operators: Float[Tensor, "s 3 3"]
) -> Float[Tensor, " n"]:
    """Angle in degrees between orientations, the least over the mates of a point group.

    The angle of the rotation A^T B S is acos((trace - 1) / 2); its trace is the sum of the
    products of the elements of A^T B and S^T.
    """
    between = (after.transpose(1, 2) @ before).flatten(1)
    traces = between @ operators.to(between).transpose(1, 2).flatten(1).T
    cosine = ((traces.amax(dim=1) - 1) / 2).clamp(-1, 1)
    return torch.rad2deg(torch.acos(cosine))


def _shares(values: Float[Tensor, " n"]) -> tuple[float, ...]:
    some = values.double()[:: 1 + len(values) // _MOST]
    return tuple(torch.quantile(some, share).item() for share in _SHARES)


def change_of(
    matrices: tuple[Float[Tensor, "n 3 3"], Float[Tensor, "n 3 3"]],
    origins: tuple[Float[Tensor, "n 2"], Float[Tensor, "n 2"]],
    operators: Float[Tensor, "s 3 3"],
) -> Change:
    """What a pass changed, from the poses before and after it; origins in angstrom."""
    moved = (origins[1] - origins[0]).norm(dim=1)
    return Change(_shares(turned_by(*matrices, operators)), _shares(moved))
