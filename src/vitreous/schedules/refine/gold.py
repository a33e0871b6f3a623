"""From the sums of two halves to their references: what the one half learns from the other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vitreous.engine.images import Frame
from vitreous.imaging.envelope import automatic_mask
from vitreous.imaging.filters import by_shells
from vitreous.imaging.masks import mask_in_box, soft_sphere
from vitreous.math.fourier import (
    from_half_fourier,
    half_frequency_radius,
    to_half_fourier,
)
from vitreous.reconstruct.nonuniform import cross_validated
from vitreous.validate.fsc import first_below
from vitreous.validate.half_maps import HalfMapCurves, HalfMaps

THRESHOLD = 0.143
"""FSC that says the resolution: Rosenthal & Henderson, J. Mol. Biol. 333, 721 (2003)."""

OWN = 1.4
"""Shells to which halves agree by themselves, at the least, over those that they share."""

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


def joined_below(unfiltered: Float[Tensor, "2 n n n"], shells: float) -> Float[Tensor, "2 n n n"]:
    """Both halves with their mean within ``shells`` frequency steps, and not a voxel beyond.

    The halves would otherwise drift apart, each turned and shifted a little by itself: Scheres, J.
    Struct. Biol. 180, 519 (2012), section 2.5.
    """
    spectra = to_half_fourier(unfiltered)
    inside = half_frequency_radius(unfiltered.shape[-1], unfiltered.device) <= shells
    return from_half_fourier(torch.where(inside, spectra.mean(dim=0), spectra))


def claimed(
    found: float | None, *, shared: float, lowpass: float, evidence: float | None
) -> tuple[float | None, list[str]]:
    """Resolution that halves may claim, and a warning if it is less than they agree to.

    Parameters
    ----------
    found : float or None
        Resolution in angstrom at which their FSC falls to 0.143.
    shared, lowpass : float
        To which they shared their density in the search, and that of their first reference.
    evidence : float or None
        Mean log-likelihood of an image over all poses, over that of noise alone; None where only a
        part of the map is refined, which may be too small to be seen in one image.
    """
    if found is None:
        return None, []
    claim = max(found, shared, lowpass)
    if evidence is not None and evidence < 0:
        report_pass = (
            f"The images are likelier to be noise than views of this map (log-evidence "
            f"{evidence:.1f} an image), so of the {found:.0f} A that the halves agree to no more "
            f"than {claim:.0f} A is claimed. Check the particles (vitreous check), the reference "
            "and the mask's diameter."
        )
        return claim, [report_pass]
    least = min(shared, lowpass) / OWN
    if found < least:
        return found, []
    report_pass = (
        f"The halves agree to {found:.0f} A, began with one reference at {lowpass:g} A and shared "
        f"their density to {shared:g} A: agreement is their own where it is finer than "
        f"{least:.0f} A, so no more than {claim:.0f} A is claimed. If the map looks right, let the "
        "halves share less: --lowpass 60 --join-halves 60."
    )
    return claim, [report_pass]


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

    halves = HalfMaps(unfiltered[0], unfiltered[1], seed)

    def within(mask: Float[Tensor, "n n n"]) -> tuple[Float[Tensor, "n n n"], HalfMapCurves]:
        return mask, halves.curves(mask)

    if given is not None:
        return within(mask_in_box(given.to(unfiltered), frame.box))
    radius, edge = frame.mask_radius, frame.mask_edge
    sphere, curves = within(soft_sphere(frame.box, radius, edge, 3, unfiltered.device))
    if first_below(curves.corrected, THRESHOLD) <= OWN * shared:
        return sphere, curves
    found = automatic_mask(unfiltered[0], unfiltered[1], frame.pixel_size)
    return (sphere, curves) if found is None else within(found.mask * sphere)


def in_mask(
    unfiltered: Float[Tensor, "2 n n n"], mask: Float[Tensor, "n n n"], shells: float
) -> tuple[Float[Tensor, "2 n n n"], Float[Tensor, "2 n n n"]]:
    """Halves in the mask: what both share, to ``shells`` and no farther, and what is their own.

    The mask would carry the shared part to finer shells of both halves alike; images of noise would
    then be laid on it there, and the halves agree to ever finer shells.
    """
    inside = half_frequency_radius(mask.shape[-1], mask.device) <= shells
    low = from_half_fourier(to_half_fourier(unfiltered) * inside)
    shared = from_half_fourier(to_half_fourier(low * mask) * inside)
    return shared, (unfiltered - low) * mask


def gold_standard(
    unfiltered: Float[Tensor, "2 n n n"],
    frame: Frame,
    *,
    shared: float,
    join: bool,
    mask: Float[Tensor, "m m m"] | None,
    seed: int,
) -> Halves:
    """How far the least-squares maps of both halves agree.

    Parameters
    ----------
    unfiltered : tensor (2, n, n, n)
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
    if join:
        unfiltered = joined_below(unfiltered, shared)
    soft, curves = masked_curves(unfiltered, frame, mask, shared, seed)
    shell = min(first_below(curves.corrected, THRESHOLD) - 1, frame.polar.rings)
    return Halves(unfiltered, soft, curves, shell)


def references_from(halves: Halves, *, shared: float, nonuniform: bool) -> Float[Tensor, "2 n n n"]:
    """References for the next pass, as the halves' agreement allows: masked and filtered.

    Each half is filtered by the FSC itself: that is the Wiener filter of one half-map.  It is the
    FSC inside the mask less what the mask makes by itself, so noise has no part in it.

    Filters that differ from place to place filter only what each half has by itself: of the rest
    they could learn nothing, and would carry it to finer shells of both, as the mask would.

    Parameters
    ----------
    halves : Halves
    shared : float
        Shells to which they share their density.
    nonuniform : bool
        Filter place by place.
    """
    common, own = in_mask(halves.unfiltered, halves.mask, shared)
    if nonuniform:
        return common + cross_validated(own, max(halves.shell, 1))[0]
    weights = np.clip(halves.curves.corrected, 0, 1)
    weights[halves.shell + 1 + _BEYOND :] = 0
    return by_shells(common + own, weights)
