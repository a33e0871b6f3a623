"""What two sets of particles agree on: where the density is, and how far it can be believed."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from vitreous.engine.images import Frame
from vitreous.imaging.envelope import automatic_mask
from vitreous.imaging.filters import by_shells
from vitreous.imaging.masks import soft_sphere
from vitreous.reconstruct.accumulator import Accumulator
from vitreous.reconstruct.solve import solve
from vitreous.validate.fsc import fsc

_WORTH = 0.05
"""Weight below which a shell tells nothing that is worth its arithmetic."""

_AHEAD = 4
"""Shells used beyond the last that is worth it: so the resolution rises."""


@dataclass(frozen=True)
class FscFilter:
    """Masks and filters of one or several maps.

    Attributes
    ----------
    masks : tensor (maps, n, n, n)
        From 0 to 1.
    weights : tensor (maps, shells)
        Share of a map's power that is signal, shell 0 first.
    """

    masks: Float[Tensor, "k n n n"]
    weights: Float[Tensor, "k s"]

    @property
    def extent(self) -> float:
        """Shells of signal: how many there would be, were each all signal or none."""
        return float(self.weights.sum(dim=1).mean())

    def shells(self, most: int) -> int:
        """Shells that the next search uses."""
        worth = (self.weights > _WORTH).any(dim=0).nonzero()
        return min(most, (int(worth[-1]) if len(worth) else 0) + 1 + _AHEAD)


def shared_filter(half1: Accumulator, half2: Accumulator, frame: Frame) -> FscFilter:
    """Masks round the density that two halves share, and the filters that follow from their FSC.

    Notes
    -----
    A map of all particles has the share 2 FSC / (1 + FSC) of signal in its power, which is the
    Wiener filter: Rosenthal & Henderson, J. Mol. Biol. 333, 721 (2003), section on C_ref.
    The FSC is that inside the mask, as the filter is for a masked map.
    """
    rings = frame.polar.rings
    first, second = (solve(half, None, frame.box, rings) for half in (half1, half2))
    sphere = soft_sphere(frame.box, frame.mask_radius, frame.mask_edge, 3, first.device)
    masks, weights = [], []
    for a, b in zip(first, second, strict=True):
        found = automatic_mask(a, b, frame.pixel_size)
        mask = sphere if found is None else found.mask * sphere
        curve = fsc(a * mask, b * mask).clamp(0, 1)
        masks.append(mask)
        weights.append(2 * curve / (1 + curve))
    return FscFilter(torch.stack(masks), torch.stack(weights).float())


def filtered(maps: Float[Tensor, "k n n n"], fsc_filter: FscFilter) -> Float[Tensor, "k n n n"]:
    """Maps masked, and filtered by the share of signal in each shell."""
    pairs = zip(maps * fsc_filter.masks, fsc_filter.weights.cpu().numpy(), strict=True)
    return torch.stack([by_shells(volume, weights) for volume, weights in pairs])


def fsc_filtered(
    sums: Accumulator, fsc_filter: FscFilter, frame: Frame, solvent_flatten: bool
) -> Float[Tensor, "k n n n"]:
    """Maps of these sums, masked and filtered by a signal; non-negative if ``solvent_flatten``."""
    maps = filtered(solve(sums, None, frame.box, frame.polar.rings), fsc_filter)
    return maps.clamp(min=0) * fsc_filter.masks if solvent_flatten else maps
