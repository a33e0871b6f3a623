"""How far maps made independently agree."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from vitreous.validate.fsc import fsc, resolution_at
from vitreous.validate.truth import align, mirrored


@dataclass(frozen=True)
class Agreement:
    """How far one map agrees with another, laid on it.

    Attributes
    ----------
    resolution : float
        Angstrom where their FSC falls below 0.5; infinity if it does so at once.
    mirrored : bool
        Whether the map had to be mirrored.
    """

    resolution: float
    mirrored: bool


def agreement(
    moving: Float[Tensor, "n n n"],
    fixed: Float[Tensor, "n n n"],
    mask: Float[Tensor, "n n n"],
    pixel_size: float,
    *,
    hands: tuple[bool, ...] = (False, True),
) -> Agreement:
    """Lay a map on another over rotation, shift and hand, and compare them inside a mask."""
    laid = align(moving, fixed, pixel_size, hands=hands)
    curve = fsc(laid.volume * mask, fixed * mask).numpy()
    found = resolution_at(curve, 0.5, fixed.shape[-1], pixel_size)
    return Agreement(math.inf if found is None else found, laid.mirrored)


def agreement_with_mirror(
    volume: Float[Tensor, "n n n"], mask: Float[Tensor, "n n n"], pixel_size: float
) -> float:
    """Resolution in angstrom down to which a map is its own mirror image."""
    other = torch.as_tensor(mirrored(volume))
    return agreement(other, volume, mask, pixel_size, hands=(False,)).resolution
