"""Poses polished in ever finer neighbourhoods, each fold of particles with the maps of the others.

A particle's own noise is then no part of the map it is compared with, though the folds share a
history: the resolution they agree to is not that of two independent halves.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vitreous.engine.folds import Folds, FoldStep, folds_pass, unsearched
from vitreous.engine.fsc_filter import FscFilter, fsc_filtered, shared_filter
from vitreous.engine.images import Frame
from vitreous.engine.local_pass import PoseMatrices, local_pass, pass_by_class
from vitreous.engine.model import Model, ScaledModel
from vitreous.engine.pass_result import PassResult
from vitreous.engine.planes import PlaneImages
from vitreous.engine.searches.local import (
    LocalPoseEstimates,
    Neighbourhood,
    neighbourhood,
)
from vitreous.engine.searches.sampling import shift_cells, shift_grid
from vitreous.reconstruct.accumulator import Accumulator
from vitreous.runs.folder import OnEvent

REACH = 1.7
"""Steps that a neighbourhood extends from its centre."""

_FIRST_STEP, _FIRST_SHIFT = 3.75, 1.0
"""Steps of the first level: degrees, and working pixels."""

SHARP = 0.6
"""Mean posterior of the best place above which a lattice is too coarse for the poses."""

_RISE = 0.02
"""Relative rise of what the folds agree on below which passes are enough."""

_LEVELS = 4
"""Most steps, each half of the one before."""

_ALL = 0.95
"""Share of the frame's shells that hold signal above which finer poses can show no more."""

_SURE = 0.999
"""Posterior of a class from which a particle is compared with no other."""


@dataclass(frozen=True)
class RefinementContext:
    """What stays the same while poses are polished.

    Attributes
    ----------
    images : PlaneImages
    frame : Frame
    operators : tensor (operators, 3, 3)
    solvent_flatten : bool
        Keep density non-negative.
    offset_range : float
        Largest shift that a particle may have, working pixels.
    only : integer tensor (particles,)
        Map that a particle is compared with alone; -1 for all maps.
    """

    images: PlaneImages
    frame: Frame
    operators: Float[Tensor, "s 3 3"]
    solvent_flatten: bool
    offset_range: float
    only: Int[Tensor, " n"]

    def around(self, step: float, shift_step: float) -> Neighbourhood:
        """Lattice of an angular step in degrees and a step of the shifts in pixels."""
        cells = shift_cells(self.offset_range, shift_step)
        shifts = shift_grid(REACH * shift_step, shift_step)
        return neighbourhood(step, REACH, shifts, self.operators, cells)


@dataclass(frozen=True)
class Polished(ScaledModel):
    """Where the polishing stands.

    Attributes
    ----------
    posed : PoseMatrices
        Of all particles.
    best : LocalPoseEstimates or None
        What the last pass found, in the order of ``torch.cat(folds)``.
    fsc_filter : FscFilter or None
        What the folds agree on after the last pass; None before the first.
    """

    posed: PoseMatrices
    best: LocalPoseEstimates | None = None
    fsc_filter: FscFilter | None = None


def sure_class(by_map: Float[Tensor, "n k"]) -> Int[Tensor, " n"]:
    """The class (from 0) of each particle where it is sure, -1 elsewhere."""
    likeliest = by_map.max(dim=1)
    return torch.where(likeliest.values >= _SURE, likeliest.indices, -1)


def _fold_step(
    refinement: RefinementContext, around: Neighbourhood
) -> FoldStep[Polished, LocalPoseEstimates]:
    """How a fold is searched round its particles' poses, and maps made from the others."""

    def search(
        state: Polished, index: Int[Tensor, " b"], shells: int
    ) -> PassResult[LocalPoseEstimates]:
        images = refinement.images.with_group_scales(state.scale)

        def with_maps(maps: list[int], some: Int[Tensor, " m"]) -> PassResult[LocalPoseEstimates]:
            model = Model(state.maps[maps], state.noise, state.class_priors[maps])
            return local_pass(model, images, some, state.posed.at(some), around, shells)

        return pass_by_class(with_maps, index, refinement.only[index], len(state.maps))

    def mapped(state: Polished, sums: Accumulator, shells: int) -> Polished:
        if state.fsc_filter is None:
            return state
        frame, flatten = refinement.frame, refinement.solvent_flatten
        return replace(state, maps=fsc_filtered(sums, state.fsc_filter, frame, flatten))

    def posed(state: Polished, index: Int[Tensor, " b"], best: LocalPoseEstimates) -> Polished:
        return replace(state, posed=state.posed.moved(index, best))

    return FoldStep(search, mapped, refinement.images.mask_share, posed=posed)


def polish_pass(
    refinement: RefinementContext,
    state: Polished,
    folds: Folds,
    around: Neighbourhood,
    shells: int,
) -> tuple[Polished, Folds]:
    """Search every fold once, with maps of the other folds as they stand by then.

    Before the folds have agreed on anything, the state's maps serve throughout, to ``shells``.
    """
    frame, step = refinement.frame, _fold_step(refinement, around)
    if state.fsc_filter is not None:
        shells = state.fsc_filter.shells(frame.polar.rings)
    state, folds, found = folds_pass(state, folds, step, shells)
    fsc_filter = shared_filter(folds.half(0), folds.half(1), frame)
    return replace(state, best=LocalPoseEstimates.joined(found), fsc_filter=fsc_filter), folds


def held_out_evidence(
    refinement: RefinementContext, state: Polished, folds: list[Int[Tensor, " b"]], shells: int
) -> Float[Tensor, " m"]:
    """How well each fold's particles are explained by the maps of the others.

    Maps made under two point groups from the same folds compare by it: symmetry that the particles
    have takes noise out of the map, symmetry that they lack takes detail.
    They are compared under the noise that the state has: each map's own would count for more than
    what tells them apart.

    Parameters
    ----------
    folds : list of integer tensors
        Particles, two folds at the least.
    shells : int
        That the first of two passes goes to, which only makes the folds' maps.

    Returns
    -------
    Log-evidence in the order of ``torch.cat(folds)``.
    """
    noise, around = state.noise, refinement.around(_FIRST_STEP, _FIRST_SHIFT)
    state, parts = polish_pass(
        refinement, replace(state, fsc_filter=None), unsearched(folds), around, shells
    )
    assert state.fsc_filter is not None
    shells = state.fsc_filter.shells(refinement.frame.polar.rings)
    step, found = _fold_step(refinement, around), []
    for number, index in enumerate(folds):
        others = parts.without(number)
        assert others is not None
        held = replace(step.mapped(state, others, shells), noise=noise)
        found.append(step.search(held, index, shells).best.log_evidence)
    return torch.cat(found)


def polish(
    refinement: RefinementContext,
    state: Polished,
    folds: list[Int[Tensor, " b"]],
    shells: int,
    passes: int,
    on_event: OnEvent,
) -> Polished:
    """Passes over all folds, as long as the folds then agree on more.

    The steps are halved as soon as the best place holds most of the posterior.

    Parameters
    ----------
    folds : list of integer tensors
        Particles, two folds at the least; those in none keep their poses.
    shells : int
        That the first pass goes to.
    passes : int
        Most passes at one step.
    on_event : callable

    Returns
    -------
    State whose maps are those of all folds.
    """
    parts, state = unsearched(folds), replace(state, fsc_filter=None)
    step, shift_step, level, at_step, before = _FIRST_STEP, _FIRST_SHIFT, 1, 0, 0.0
    around, rings = refinement.around(step, shift_step), refinement.frame.polar.rings
    for number in range(_LEVELS * passes):
        state, parts = polish_pass(refinement, state, parts, around, shells)
        assert state.best is not None and state.fsc_filter is not None
        extent, at_step = state.fsc_filter.extent, at_step + 1
        sharpness = float(state.best.probability.mean())
        on_event(
            {
                "event": "polish",
                "stage": "poses polished",
                "iteration": number + 1,
                "at_most": _LEVELS * passes,
                "angular_sampling": step,
                "log_likelihood": float(state.best.log_evidence.mean()),
                "posterior_of_best": sharpness,
                "shells_of_signal": extent,
            }
        )
        before, rise = extent, extent - before
        if rise < _RISE * extent or extent > _ALL * rings:
            break
        if sharpness > SHARP and level < _LEVELS:
            step, shift_step, level, at_step = step / 2, shift_step / 2, level + 1, 0
            around = refinement.around(step, shift_step)
        elif at_step == passes:
            break
    total = parts.without()
    assert total is not None
    return _fold_step(refinement, around).mapped(state, total, shells)
