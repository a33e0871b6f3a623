"""Two starts compared after their last passes, where the search's own maps leave a doubt.

The search ends at its final resolution, where a map may be too coarse to have a hand.  The last
passes go on as far as the particles tell, each start by itself: maps that agree there beyond what
their mirror images do, at the same poses, are no accident.
"""

from __future__ import annotations

import math

from jaxtyping import Float
from torch import Tensor

from vitreous.imaging.masks import soft_sphere
from vitreous.schedules.abinit.context import RunContext
from vitreous.schedules.abinit.evidence import AtLast
from vitreous.schedules.abinit.gather import SAME_POSE
from vitreous.schedules.abinit.last_pass import Ended
from vitreous.schedules.abinit.verdict import HANDED_AT_LAST
from vitreous.validate.reproducibility import agreement, agreement_with_mirror, posed_alike


def _finest(ended: Ended) -> float:
    """Resolution in angstrom that the last maps hold density to."""
    fsc_filter = ended.polished.fsc_filter
    return (
        ended.frame.field / fsc_filter.extent if fsc_filter and fsc_filter.extent > 0 else math.inf
    )


def _own_mirror(ended: Ended) -> float:
    """Resolution in angstrom down to which the last map is its own mirror image."""
    frame = ended.frame
    mask = soft_sphere(frame.box, frame.mask_radius, frame.mask_edge)
    volume = ended.polished.maps[0].cpu()
    return agreement_with_mirror(volume, mask, frame.pixel_size, _finest(ended))


def may_have_hand(ended: Ended) -> bool:
    """Whether the last map is unlike its mirror image at the finest that it holds.

    Where it is not, no second start can make it so.
    """
    return ended.refinement is not None and _own_mirror(ended) > HANDED_AT_LAST * _finest(ended)


def compared_at_last(
    context: RunContext,
    likeliest: Ended,
    other: Ended,
    start: int,
    mates: Float[Tensor, "s 3 3"],
) -> AtLast | None:
    """How far two starts agree after their last passes; None where poses were not polished.

    Parameters
    ----------
    context : RunContext
    likeliest, other : Ended
    start : int
        Number of the other, from 1.
    mates : tensor (operators, 3, 3)
        Rotations that leave the likeliest map as it is: poses that they carry into each other are
        the same.
    """
    if likeliest.refinement is None or other.refinement is None:
        return None
    frame = likeliest.frame
    mask = soft_sphere(frame.box, frame.mask_radius, frame.mask_edge)
    moving, fixed = (ended.polished.maps[0].cpu() for ended in (other, likeliest))
    finest = max(_finest(other), _finest(likeliest))
    found = agreement(moving, fixed, mask, frame.pixel_size, finest=finest)
    kept = likeliest.kept & other.kept
    poses, others = (ended.polished.posed.matrices.cpu()[kept] for ended in (other, likeliest))
    alike = posed_alike(poses, others, mates, SAME_POSE * context.last_angular_step)
    return AtLast(start, found.resolution, _own_mirror(likeliest), alike)
