"""How far maps made independently agree."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vitreous.validate.fsc import fsc, resolution_at
from vitreous.validate.truth import align, mirrored

_ROTATIONS = 60
"""Particles, evenly spread, whose poses are asked how two maps lie to each other."""

_REACH = 1 / 6
"""Largest shift between two maps of the same particles, over the box: each is centred."""


@dataclass(frozen=True)
class Agreement:
    """How far one map agrees with another, laid on it.

    Attributes
    ----------
    resolution : float
        Angstrom where their FSC falls below a threshold; infinity if it does so at once.
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
    threshold: float = 0.5,
    finest: float = 0.0,
) -> Agreement:
    """Lay a map on another over rotation, shift and hand, and compare them inside a mask.

    ``finest`` is the resolution in angstrom that the maps hold density to: what the mask carries
    beyond it is no agreement.
    """
    laid = align(moving, fixed, pixel_size, hands=hands, reach=_REACH)
    curve = fsc(laid.volume * mask, fixed * mask).numpy()
    found = resolution_at(curve, threshold, fixed.shape[-1], pixel_size)
    found = math.inf if found is None else max(found, finest)
    return Agreement(found, laid.mirrored)


def agreement_with_mirror(
    volume: Float[Tensor, "n n n"],
    mask: Float[Tensor, "n n n"],
    pixel_size: float,
    finest: float = 0.0,
) -> float:
    """Resolution in angstrom down to which a map is its own mirror image."""
    mirror = mirrored(volume)
    return agreement(mirror, volume, mask, pixel_size, hands=(False,), finest=finest).resolution


def likeness_to_mirror(
    volume: Float[Tensor, "n n n"],
    mask: Float[Tensor, "n n n"],
    pixel_size: float,
    halves: Float[np.ndarray, " s"],
) -> float:
    """Share of a map's signal that its mirror image has, too: 1 for a map without a hand.

    Over the finer half of the shells that its halves agree on (FSC of at least 0.5): where the FSC
    with the mirror image falls by noise alone, that of the halves falls as well.

    Parameters
    ----------
    volume : tensor (n, n, n)
        The mean of two halves.
    mask : tensor (n, n, n)
    pixel_size : float
        Angstrom.
    halves : array (shells,)
        FSC between the halves, shell 0 first.

    Notes
    -----
    Two maps of the signal that a half's FSC of h tells, with noise of their own, would correlate at
    2 h / (1 + h): Rosenthal & Henderson, J. Mol. Biol. 333, 721 (2003), section on C_ref.
    """
    last = int(np.argmax([*(halves < 0.5), True]))
    finer = slice(last // 2, last)
    if last < 2:
        return 1.0
    laid = align(mirrored(volume), volume, pixel_size, hands=(False,), reach=_REACH)
    found = fsc(laid.volume * mask, volume * mask).numpy()[finer]
    return float(np.mean(found / (2 * halves / (1 + halves))[finer]))


def posed_alike(
    poses: Float[Tensor, "n 3 3"],
    others: Float[Tensor, "n 3 3"],
    operators: Float[Tensor, "s 3 3"],
    limit: float,
) -> float:
    """Largest share of particles whose poses one rotation of the map carries into the other poses.

    Poses tell more than maps how these lie to each other: a map that is nearly its own mirror image
    fits either hand, but the particles' poses fit only one.

    Parameters
    ----------
    poses, others : tensor (particles, 3, 3)
        They carry points of one map, and of the other, to the image's frame.
    operators : tensor (operators, 3, 3)
        Point group of the other map: the nearest of the equivalent poses counts.
    limit : float
        Angle in degrees within which poses are the same.
    """
    mates = others.double()[:, None] @ operators.double()
    flip = torch.diag(torch.tensor([1.0, 1.0, -1.0], dtype=torch.float64))
    best = 0.0
    # A mirrored map looks the same from poses mirrored in image and map.
    for own in (poses.double(), flip @ poses.double() @ flip):
        for row in np.linspace(0, len(own) - 1, min(len(own), _ROTATIONS)).round().astype(int):
            moved = own @ (own[row].T @ mates[row, 0])
            cosine = (torch.einsum("nij,nsij->ns", moved, mates) - 1) / 2
            angles = torch.rad2deg(cosine.clamp(-1, 1).acos().min(dim=1).values)
            best = max(best, float((angles <= limit).double().mean()))
    return best
