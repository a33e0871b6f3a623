"""The end of a classification: one pass with all rings, and what the halves of each class share."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vitreous.engine.assignments import ParticleAssignments, assignments_at
from vitreous.engine.folds import FoldStep
from vitreous.engine.fsc_filter import fsc_filtered, shared_filter
from vitreous.engine.images import Frame
from vitreous.engine.junk import noise_probability
from vitreous.engine.local_pass import PoseMatrices
from vitreous.engine.sorting import Sorting, sorting_pass
from vitreous.engine.state import SearchState
from vitreous.reconstruct.solve import solve
from vitreous.schedules.class3d.pose_search import PoseSearch
from vitreous.schedules.class3d.sort import within
from vitreous.schedules.class3d.steps import MapMaking
from vitreous.validate.half_maps import HalfMapCurves, half_map_curves

Volumes = Float[Tensor, "k n n n"]


@dataclass(frozen=True)
class ClassMaps:
    """Maps of all classes in the working box.

    Attributes
    ----------
    maps : tensor (classes, n, n, n)
        Filtered and masked by what the halves share.
    half1, half2 : tensors (classes, n, n, n)
        Neither filtered nor masked.
    curves : list of HalfMapCurves
        Of the halves within the mask of each class.
    """

    maps: Volumes
    half1: Volumes
    half2: Volumes
    curves: list[HalfMapCurves]


def last_pass(
    sorting: Sorting,
    step: FoldStep[SearchState, Any],
    pose_search: PoseSearch,
    frame: Frame,
    *,
    leave_noise: bool,
) -> tuple[Sorting, ParticleAssignments]:
    """Search all particles once with all rings; images of noise may be left out of the maps."""
    noisy = noise_probability(sorting.log_evidence) > 0.5
    everywhere = all(bool((~noisy[fold]).any()) for fold in sorting.folds.index)
    keep = ~noisy if leave_noise and everywhere else torch.ones_like(noisy)
    after, bests = sorting_pass(within(sorting, keep), step, frame.polar.rings)
    parts = list(after.folds.index)
    left = torch.nonzero(~keep)[:, 0]
    if len(left):
        other = step.search(after.state, left, frame.polar.rings).best
        bests, parts = [*bests, other], [*parts, left]
        by_map, evidence = after.by_map.clone(), after.log_evidence.clone()
        by_map[left], evidence[left] = other.map_probability.cpu(), other.log_evidence.cpu()
        after = replace(after, by_map=by_map, log_evidence=evidence)
    order = torch.cat(parts).argsort()
    posed = [pose_search.posed(index, best) for index, best in zip(parts, bests, strict=True)]
    return after, assignments_at(
        PoseMatrices(
            torch.cat([part.matrices for part in posed])[order],
            torch.cat([part.origins for part in posed])[order],
        ),
        after.by_map,
        torch.cat([best.probability for best in bests]).cpu()[order],
        after.log_evidence,
        after.state.noise,
        after.state.scale,
        frame,
    )


def _ended(curves: HalfMapCurves, rings: int) -> HalfMapCurves:
    """Curves that are 0 beyond the rings used: what is left there is the windows' doing."""
    inside = np.arange(len(curves.unmasked)) < rings
    names = ("unmasked", "masked", "randomised", "corrected")
    return replace(curves, **{name: getattr(curves, name) * inside for name in names})


def class_maps(sorting: Sorting, making: MapMaking, seed: int) -> ClassMaps:
    """Maps, half-maps and their correlation, class by class."""
    frame, rings = making.frame, making.frame.polar.rings
    half1, half2 = sorting.folds.half(0), sorting.folds.half(1)
    fsc_filter = shared_filter(half1, half2, frame)
    maps = fsc_filtered(half1.plus(half2), fsc_filter, frame, making.solvent_flatten)
    if making.mask is not None:
        maps = maps * making.mask
    maps[making.fixed] = sorting.state.maps[making.fixed]
    one, other = (solve(half, None, frame.box, rings).cpu() for half in (half1, half2))
    curves = [
        _ended(half_map_curves(first, second, mask, seed), rings)
        for first, second, mask in zip(one, other, fsc_filter.masks.cpu(), strict=True)
    ]
    return ClassMaps(maps.cpu(), one, other, curves)


def decoys(found: ParticleAssignments, given: set[int], maps: int) -> set[int]:
    """Classes (from 0) for images of junk: those ``given`` as such, and those full of noise."""
    likeliest, noisy = found.by_map.argmax(axis=1), found.noise_probability > 0.5
    full = {
        number
        for number in range(maps)
        if (likeliest == number).any() and noisy[likeliest == number].mean() > 0.5
    }
    return given | full


def final_classes(found: ParticleAssignments, decoy_classes: set[int]) -> np.ndarray:
    """Class of each particle, from 1: an image of noise goes to its likeliest decoy.

    Without decoys it goes to a class of its own, after the last map's.
    """
    if not decoy_classes:
        return found.classes
    numbers = np.array(sorted(decoy_classes))
    nearest = numbers[found.by_map[:, numbers].argmax(axis=1)]
    likeliest = found.by_map.argmax(axis=1)
    return 1 + np.where(found.noise_probability > 0.5, nearest, likeliest)
