"""Poses polished in ever finer neighbourhoods, each fold of particles with the maps of the others.

A particle's own noise is then no part of the map it is compared with, though the folds share a
history: the resolution they agree to is not that of two independent halves.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vitreous.engine.fsc_filter import FscFilter, fsc_filtered, shared_filter
from vitreous.engine.images import Frame
from vitreous.engine.local_pass import LocalResult, PoseMatrices, local_pass, pass_by_class
from vitreous.engine.pass_ import renewed_noise, renewed_scale
from vitreous.engine.planes import PlaneImages
from vitreous.engine.searches.local import (
    LocalPoseEstimates,
    Neighbourhood,
    joined_bests,
    neighbourhood,
)
from vitreous.engine.searches.sampling import shift_cells, shift_grid
from vitreous.reconstruct.accumulator import Accumulator, summed
from vitreous.runs.folder import OnEvent

_REACH = 2.0
"""Steps that a neighbourhood extends from its centre."""

_FIRST_STEP, _FIRST_SHIFT = 3.75, 1.0
"""Steps of the first level: degrees, and working pixels."""

_SHARP = 0.6
"""Mean posterior of the best place above which a lattice is too coarse for the poses."""

_RISE = 0.02
"""Relative rise of what folds agree on below which passes at a level, or levels, are enough."""

_LEVELS = 4
"""Most times that the steps are halved."""

_ALL = 0.95
"""Share of the frame's shells that hold signal above which finer poses can show no more."""

_SURE = 0.999
"""Posterior of a class from which a particle is compared with no other."""

_NOISE_RATE = 0.3
"""Share of the noise spectra and contrasts renewed by each fold."""


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
        shifts = shift_grid(_REACH * shift_step, shift_step)
        return neighbourhood(step, _REACH, shifts, len(self.operators), cells)


@dataclass(frozen=True)
class Polished:
    """Where the polishing stands.

    Attributes
    ----------
    maps : tensor (maps, n, n, n)
    noise : tensor (groups, shells)
    scale : tensor (groups,)
        Contrast of the optics groups' images beside each other.
    class_priors : tensor (maps,)
    posed : PoseMatrices
        Of all particles.
    best : LocalPoseEstimates or None
        What the last pass found, in the order of ``torch.cat(folds)``.
    fsc_filter : FscFilter or None
        What the folds agree on after the last pass; None before the first.
    """

    maps: Float[Tensor, "k n n n"]
    noise: Float[Tensor, "g s"]
    scale: Float[Tensor, " g"]
    class_priors: Float[Tensor, " k"]
    posed: PoseMatrices
    best: LocalPoseEstimates | None = None
    fsc_filter: FscFilter | None = None


def sure_class(by_map: Float[Tensor, "n k"]) -> Int[Tensor, " n"]:
    """The class (from 0) of each particle where it is sure, -1 elsewhere."""
    likeliest = by_map.max(dim=1)
    return torch.where(likeliest.values >= _SURE, likeliest.indices, -1)


def _maps(
    refinement: RefinementContext, sums: list[Accumulator], fsc_filter: FscFilter
) -> Float[Tensor, "k n n n"]:
    return fsc_filtered(summed(sums), fsc_filter, refinement.frame, refinement.solvent_flatten)


def _fold(
    refinement: RefinementContext,
    state: Polished,
    index: Int[Tensor, " b"],
    around: Neighbourhood,
    folds: int,
    shells: int,
) -> tuple[Polished, LocalResult]:
    """Search one fold with the state's maps; poses, noise and fractions renewed."""
    images = refinement.images.with_group_scales(state.scale)

    def search(maps: list[int], some: Int[Tensor, " m"]) -> LocalResult:
        return local_pass(
            state.maps[maps],
            images,
            some,
            state.posed.at(some),
            state.noise,
            around,
            refinement.operators,
            state.class_priors[maps],
            shells,
        )

    result = pass_by_class(search, index, refinement.only[index], len(state.maps))
    noise = renewed_noise(state.noise, result, refinement.images.mask_share, _NOISE_RATE)
    scale = renewed_scale(state.scale, result, _NOISE_RATE)
    share = result.best.map_probability.mean(dim=0).to(state.class_priors)
    class_priors = state.class_priors + (share - state.class_priors) / folds
    posed = state.posed.moved(index, result.best)
    return replace(state, noise=noise, scale=scale, class_priors=class_priors, posed=posed), result


def polish_pass(
    refinement: RefinementContext,
    state: Polished,
    folds: list[Int[Tensor, " b"]],
    sums: list[Accumulator],
    around: Neighbourhood,
    shells: int,
) -> tuple[Polished, list[Accumulator]]:
    """Search every fold once, with maps of the other folds as they stand by then.

    ``sums`` are those of the pass before, one for each fold; none before the first, which is made
    with the state's maps throughout and goes to ``shells``.
    """
    fsc_filter = state.fsc_filter if sums else None
    sums = [*sums]
    if fsc_filter is not None:
        shells = fsc_filter.shells(refinement.frame.polar.rings)
    found = []
    for number, index in enumerate(folds):
        if fsc_filter is not None:
            state = replace(
                state, maps=_maps(refinement, sums[:number] + sums[number + 1 :], fsc_filter)
            )
        state, result = _fold(refinement, state, index, around, len(folds), shells)
        assert result.sums is not None
        sums[number : number + 1] = [result.sums]
        found.append(result.best)
    fsc_filter = shared_filter(summed(sums[::2]), summed(sums[1::2]), refinement.frame)
    return replace(state, best=joined_bests(found), fsc_filter=fsc_filter), sums


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
    state, sums = polish_pass(refinement, state, folds, [], around, shells)
    fsc_filter = state.fsc_filter
    assert fsc_filter is not None
    shells, found = fsc_filter.shells(refinement.frame.polar.rings), []
    for number, index in enumerate(folds):
        maps = _maps(refinement, sums[:number] + sums[number + 1 :], fsc_filter)
        held = replace(state, maps=maps, noise=noise)
        _, result = _fold(refinement, held, index, around, len(folds), shells)
        found.append(result.best.log_evidence)
    return torch.cat(found)


def polish(
    refinement: RefinementContext,
    state: Polished,
    folds: list[Int[Tensor, " b"]],
    shells: int,
    passes: int,
    on_event: OnEvent,
) -> Polished:
    """Passes over all folds, as long as the folds then agree on more; the steps halved as they do.

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
    sums: list[Accumulator] = []
    step, shift_step, before = _FIRST_STEP, _FIRST_SHIFT, 0.0
    for level in range(_LEVELS):
        around, begun = refinement.around(step, shift_step), before
        for number in range(passes):
            state, sums = polish_pass(refinement, state, folds, sums, around, shells)
            assert state.best is not None and state.fsc_filter is not None
            extent = state.fsc_filter.extent
            sharpness = float(state.best.probability.mean())
            on_event(
                {
                    "event": "polish",
                    "stage": "poses polished",
                    "iteration": level * passes + number + 1,
                    "at_most": _LEVELS * passes,
                    "angular_sampling": step,
                    "log_likelihood": float(state.best.log_evidence.mean()),
                    "posterior_of_best": sharpness,
                    "shells_of_signal": extent,
                }
            )
            before, rise = extent, extent - before
            if rise < _RISE * extent or extent > _ALL * refinement.frame.polar.rings:
                break
        known = before > _ALL * refinement.frame.polar.rings
        if known or sharpness < _SHARP or before - begun < _RISE * before:
            break
        step, shift_step = step / 2, shift_step / 2
    assert state.fsc_filter is not None
    return replace(state, maps=_maps(refinement, sums, state.fsc_filter))
