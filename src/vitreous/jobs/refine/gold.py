"""From the sums of two halves to their references: what the one half learns from the other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vitreous.jobs.images import Frame
from vitreous.kernels.threads import side_by_side
from vitreous.math.fourier import (
    frequency_radius,
    from_half_fourier,
    half_frequency_radius,
    per_coefficient,
    resample,
    to_half_fourier,
)
from vitreous.physics.envelope import automatic_mask
from vitreous.physics.masks import soft_sphere
from vitreous.reconstruct.insert import Accumulator
from vitreous.reconstruct.nonuniform import cross_validated
from vitreous.reconstruct.solve import solve
from vitreous.validate.fsc import first_below
from vitreous.validate.half_maps import HalfMapCurves, half_map_curves

THRESHOLD = 0.143
"""FSC that says the resolution: Rosenthal & Henderson, J. Mol. Biol. 333, 721 (2003)."""

_OWN = 1.4
"""Shells to which halves agree by themselves, over those that they share."""

_BEYOND = 2
"""Shells beyond the resolution that a reference may still have."""


@dataclass(frozen=True)
class Halves:
    """What a pass over both halves gives.

    Attributes
    ----------
    unfiltered : tensor (2, n, n, n)
        Least-squares maps.
    mask : tensor (n, n, n)
    curves : HalfMapCurves
    shell : int
        Last shell before the corrected FSC falls below 0.143.
    """

    unfiltered: Float[Tensor, "2 n n n"]
    mask: Float[Tensor, "n n n"]
    curves: HalfMapCurves
    shell: int


def joined_below(sums: list[Accumulator], shells: float) -> list[Accumulator]:
    """Both halves with the mean of their sums within ``shells`` frequency steps.

    The halves would otherwise drift apart, each turned and shifted a little by itself: Scheres, J.
    Struct. Biol. 180, 519 (2012), section 2.5.
    """
    first, second = sums
    side = first.weight.shape[-1]
    inside = frequency_radius(side, 3, first.weight.device) <= shells * first.padding
    both = first.plus(second).scaled(0.5)
    return [
        Accumulator(
            torch.where(inside, both.data, half.data),
            torch.where(inside, both.weight, half.weight),
            half.padding,
        )
        for half in sums
    ]


def masked_curves(
    unfiltered: Float[Tensor, "2 n n n"],
    frame: Frame,
    given: Float[Tensor, "m m m"] | None,
    shared: float,
    seed: int,
) -> tuple[Float[Tensor, "n n n"], HalfMapCurves]:
    """The mask, and the half-maps' curves within it.

    The mask is the one given, brought to the frame, or made round the density of both halves: only
    where they agree beyond the ``shared`` shells.  Of noise they do not, and in so small a part of
    the box their FSC would be too uncertain to tell.
    """

    def within(mask: Float[Tensor, "n n n"]) -> tuple[Float[Tensor, "n n n"], HalfMapCurves]:
        return mask, half_map_curves(unfiltered[0], unfiltered[1], mask, seed)

    if given is not None:
        return within(resample(given, frame.box, 3).clamp(0, 1))
    sphere, curves = within(soft_sphere(frame.box, frame.mask_radius, frame.mask_edge))
    if first_below(curves.corrected, THRESHOLD) <= _OWN * shared:
        return sphere, curves
    found = automatic_mask(unfiltered[0], unfiltered[1], frame.pixel_size)
    return (sphere, curves) if found is None else within(found.mask * sphere)


def in_mask(
    unfiltered: Float[Tensor, "n n n"], mask: Float[Tensor, "n n n"], shells: float
) -> Float[Tensor, "n n n"]:
    """A half in the mask, what both share to ``shells`` kept from spreading beyond.

    The mask would carry it to finer shells of both halves alike; images of noise would then be laid
    on it there, and the halves agree to ever finer shells.
    """
    inside = half_frequency_radius(mask.shape[-1]) <= shells
    low = from_half_fourier(to_half_fourier(unfiltered) * inside)
    kept = from_half_fourier(to_half_fourier(low * mask) * inside)
    return kept + (unfiltered - low) * mask


def gold_standard(
    sums: list[Accumulator],
    frame: Frame,
    *,
    shared: float,
    join: bool,
    mask: Float[Tensor, "m m m"] | None,
    seed: int,
) -> Halves:
    """Maps of both halves, and how far they agree.

    Parameters
    ----------
    sums : list of two Accumulator
    frame : Frame
    shared : float
        Shells to which the halves share, or have shared, their density.
    join : bool
        Whether they are to share it now.
    mask : tensor (m, m, m), optional
        In a box of the same field.
    seed : int
        Of the random phases.
    """
    rings = frame.polar.rings
    halves = joined_below(sums, shared) if join else sums
    workers = 2 if torch.get_num_threads() == 1 else 1  # small maps have one core each
    solved = side_by_side(
        lambda worker: [solve(half, None, frame.box, rings) for half in halves[worker::workers]],
        workers,
    )
    unfiltered = torch.cat([volume for part in solved for volume in part]).cpu()
    soft, curves = masked_curves(unfiltered, frame, mask, shared, seed)
    shell = min(first_below(curves.corrected, THRESHOLD) - 1, rings)
    return Halves(unfiltered, soft, curves, shell)


def references_from(halves: Halves, *, shared: float, nonuniform: bool) -> Float[Tensor, "2 n n n"]:
    """References for the next pass, as the halves' agreement allows: masked and filtered.

    Each half is filtered by the FSC itself: that is the Wiener filter of one half-map.  It is the
    FSC inside the mask less what the mask makes by itself, so noise has no part in it.

    Parameters
    ----------
    halves : Halves
    shared : float
        Shells to which they share their density.
    nonuniform : bool
        Filter place by place.
    """
    masked = torch.stack([in_mask(half, halves.mask, shared) for half in halves.unfiltered])
    if nonuniform:
        return cross_validated(masked, max(halves.shell, 1))[0]
    weights = np.clip(halves.curves.corrected, 0, 1)
    weights[halves.shell + 1 + _BEYOND :] = 0
    weight = per_coefficient(weights, masked.shape[-1])
    spectra = [to_half_fourier(half) * weight for half in masked]
    return torch.stack([from_half_fourier(spectrum) for spectrum in spectra])
