"""The end of ab initio: every particle's pose, ever more finely, and the maps from all of them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vitreous.engine.adaptive_search import AdaptiveSearch, coarse_search, fine_search
from vitreous.engine.assignments import ParticleAssignments, assignments_at
from vitreous.engine.folds import FoldStep, folds_pass, in_folds, index_of_folds, with_maps
from vitreous.engine.image_fit import image_fit, unlike_others
from vitreous.engine.images import CtfMode, Frame, finer_frame
from vitreous.engine.junk import empty_classes, noise_probability
from vitreous.engine.local_pass import PoseMatrices
from vitreous.engine.maps import power_beyond_noise
from vitreous.engine.planes import PlaneImages, load_planes
from vitreous.engine.pose_refinement import SHARP, Polished, RefinementContext, polish, sure_class
from vitreous.engine.searches.posterior import PoseEstimates
from vitreous.engine.state import SearchState
from vitreous.math.fourier import resample_map
from vitreous.particles.stack import ImageSource
from vitreous.reconstruct.accumulator import Accumulator
from vitreous.runs.folder import OnEvent
from vitreous.schedules.abinit.context import RunContext

_MOSTLY = 0.5
"""Share of noise among the images above which poses are not polished."""

_COARSE = 18.0
"""Resolution in angstrom to which an image's misfit is taken."""

_LEVEL = 0.04
"""Relative rise of the mean log-evidence below which passes on the grid are enough."""


@dataclass(frozen=True)
class _Assigned:
    """Where all particles lie, in stack order, and what is known of each.

    Attributes
    ----------
    posed : PoseMatrices
    by_map : tensor (particles, maps)
    probability, log_evidence : tensors (particles,)
    unlike : tensor (particles, 2), optional
        Probabilities of other density and of a fragment, where poses were polished.
    """

    posed: PoseMatrices
    by_map: Float[Tensor, "n k"]
    probability: Float[Tensor, " n"]
    log_evidence: Float[Tensor, " n"]
    unlike: Float[Tensor, "n j"] | None = None

    @property
    def noisy(self) -> Bool[Tensor, " n"]:
        """Images that look like noise."""
        return noise_probability(self.log_evidence) > 0.5


@dataclass(frozen=True)
class Ended:
    """Where the last passes ended.

    Attributes
    ----------
    places : _Assigned
    polished : Polished
        Maps and noise.
    frame : Frame
        Of the maps.
    refinement : RefinementContext or None
        What the poses were polished with; None if they were not.
    folds : list of integer tensors
        Particles that the maps were made from.
    """

    places: _Assigned
    polished: Polished
    frame: Frame
    refinement: RefinementContext | None
    folds: list[Tensor]

    @property
    def found(self) -> ParticleAssignments:
        """For the particle table and the record."""
        places = self.places
        return assignments_at(
            places.posed,
            places.by_map,
            places.probability,
            places.log_evidence,
            self.polished.noise,
            self.polished.scale,
            self.frame,
            places.unlike,
        )

    @property
    def kept(self) -> Bool[Tensor, " n"]:
        """Particles that are neither noise nor unlike the others."""
        unlike = self.places.unlike
        noisy = self.places.noisy
        return ~noisy if unlike is None else ~noisy & (unlike.sum(dim=1) <= 0.5)

    def with_others(self, held: list[int], maps: Float[Tensor, "k n n n"]) -> Ended:
        """The same where those held were some of all ``maps``, and the others hold nothing."""
        every = resample_map(maps, self.frame.box)
        every[held] = self.polished.maps
        class_priors = every.new_zeros(len(maps))
        class_priors[held] = self.polished.class_priors
        by_map = self.places.by_map.new_zeros(len(self.places.by_map), len(maps))
        by_map[:, held] = self.places.by_map
        return replace(
            self,
            places=replace(self.places, by_map=by_map),
            polished=replace(self.polished, maps=every, class_priors=class_priors),
        )


def last_pass(
    context: RunContext,
    state: SearchState,
    source: ImageSource,
    mode: CtfMode,
    on_event: OnEvent,
    images: PlaneImages | None = None,
) -> Ended:
    """Find every particle's pose and make the maps from those that are no noise.

    First the whole grid as in the iterations; then, twice as finely in angle and shift, what is
    near the directions that hold nearly all of a particle's posterior; then ever finer
    neighbourhoods of its best place, without the images that then turn out to be unlike the others.
    Each fold's maps go as far as the folds agree, so the resolution rises by itself.  Should all
    images look like noise, all are used: the verdict says what to think of the map.  Classes that
    are empty take no part, and keep their maps.  ``images`` are those of another start's last
    passes, if they were read already.
    """
    held = torch.nonzero(~empty_classes(state.class_priors))[:, 0].tolist()
    if len(held) in (0, len(state.maps)):
        return _last_pass(context, state, source, mode, on_event, images)
    ended = _last_pass(context, state.among(held), source, mode, on_event, images)
    return ended.with_others(held, state.maps)


def _last_pass(
    context: RunContext,
    state: SearchState,
    source: ImageSource,
    mode: CtfMode,
    on_event: OnEvent,
    images: PlaneImages | None,
) -> Ended:
    config = context.config
    on_event({"event": "final_pass", "stage": "last passes", "iteration": 0,
              "at_most": config.polish_passes + 1})  # fmt: skip
    adaptive = coarse_search(context, state, config.ends_at)
    keep = ~adaptive.junk | bool(adaptive.junk.all())
    state, best = _level(context, state, adaptive, keep, on_event)
    places = _on_grid(adaptive, best)
    if places.noisy.double().mean() >= _MOSTLY:
        return _unpolished(context, state, places)
    frame = finer_frame(context.frame, config.ends_at)
    planes = images or load_planes(
        context.table, source, frame, context.device, on_event, mode, context.last_room
    )
    reach = config.offset_range * frame.grid.pixel_size / frame.pixel_size
    only = sure_class(places.by_map)
    refinement = RefinementContext(
        planes, frame, context.operators, config.solvent_flatten, reach, only
    )
    kept = torch.nonzero(~places.noisy)[:, 0]
    folds = index_of_folds(kept, context.image_numbers)
    begun = Ended(places, _begun(context, state, places.posed, frame), frame, refinement, folds)
    shells = min(context.frame.polar.rings, frame.polar.rings)
    kept = separated(begun).kept
    begun = replace(begun, folds=[fold[kept[fold]] for fold in folds])
    return separated(polished_on(begun, refinement, shells, config.polish_passes, on_event))


def separated(ended: Ended) -> Ended:
    """With the images that are unlike the others of their class."""
    polished, places, refinement = ended.polished, ended.places, ended.refinement
    assert refinement is not None
    images = refinement.images.with_group_scales(polished.scale)
    number = places.by_map.argmax(dim=1)
    coarse = ended.frame.rings_at(_COARSE)
    fit = image_fit(polished.maps, images, polished.posed, number, polished.noise, coarse)
    unlike = torch.zeros(len(number), 2)
    for one in range(places.by_map.shape[1]):
        member = (number == one) & ~places.noisy
        unlike[member] = unlike_others(fit.at(member))
    return replace(ended, places=replace(places, posed=polished.posed, unlike=unlike))


def coarse_end(context: RunContext, state: SearchState) -> Ended:
    """A search that collapsed as it is, with the best place on the grid of every particle."""
    adaptive = coarse_search(context, state, context.config.ends_at)
    best, grid = adaptive.best, adaptive.coarse
    matrices = grid.matrices(best.reference.cpu() % len(grid.directions), best.psi.cpu())
    places = _places(PoseMatrices(matrices.contiguous(), adaptive.origins), best)
    return _unpolished(context, state, places)


def posed_by_grid(context: RunContext, state: SearchState) -> Ended:
    """All particles at their best places on the fine grid, the maps as they are."""
    adaptive = coarse_search(context, state, context.config.ends_at)
    index = adaptive.order()
    best = _near(context, state, adaptive, index)
    best = best.at(index.argsort().to(best.reference.device))
    return _unpolished(context, state, _on_grid(adaptive, best))


def polished_on(
    begun: Ended,
    refinement: RefinementContext,
    shells: int,
    passes: int,
    on_event: OnEvent,
) -> Ended:
    """Poses of the particles in the folds polished from where they are; the others stay there."""
    polished = polish(refinement, begun.polished, begun.folds, shells, passes, on_event)
    best, index, places = polished.best, torch.cat(begun.folds), begun.places
    assert best is not None

    def renewed(old: Tensor, new: Tensor) -> Tensor:
        old = old.clone()
        old[index] = new.to(old)
        return old

    places = _Assigned(
        polished.posed,
        renewed(places.by_map, best.map_probability),
        renewed(places.probability, best.probability),
        renewed(places.log_evidence, best.log_evidence),
        places.unlike,
    )
    return replace(begun, places=places, polished=polished, refinement=refinement)


def _begun(context: RunContext, state: SearchState, posed: PoseMatrices, frame: Frame) -> Polished:
    """The search's maps, noise (beyond its rings as at the last) and poses in another frame."""
    more = max(0, frame.polar.rings - state.noise.shape[1])
    noise = torch.cat([state.noise, state.noise[:, -1:].expand(-1, more)], dim=1)
    scale = context.frame.pixel_size / frame.pixel_size
    return Polished(
        resample_map(state.maps, frame.box),
        noise[:, : frame.polar.rings],
        class_priors=state.class_priors,
        scale=state.scale,
        posed=PoseMatrices(posed.matrices, posed.origins * scale),
    )


def _prior(state: SearchState, sums: Accumulator, rings: int) -> Float[Tensor, "k s"]:
    return power_beyond_noise(sums, state.maps.shape[-1], rings)


def _level(
    context: RunContext,
    state: SearchState,
    adaptive: AdaptiveSearch,
    keep: Bool[Tensor, " n"],
    on_event: OnEvent,
) -> tuple[SearchState, PoseEstimates]:
    """Passes on the fine grid until it is too coarse for the poses, or the evidence hardly rises.

    Only some images are kept.
    """
    rings, most = context.frame.polar.rings, context.config.polish_passes
    folds, mapped = (
        in_folds(adaptive, context.image_numbers, keep),
        partial(with_maps, context, _prior),
    )
    before, narrowed = -math.inf, adaptive
    for number in range(most):
        search = partial(fine_search, context, narrowed)
        step = FoldStep(search, mapped, context.images.mask_share)
        state, folds, found = folds_pass(state, folds, step, rings)
        index, best = torch.cat(folds.index), PoseEstimates.joined(found)
        evidence, sharpness = float(best.log_evidence.mean()), float(best.probability.mean())
        on_event({"event": "final_pass", "stage": "last passes", "iteration": number + 2,
                  "at_most": most + 1, "angular_sampling": adaptive.step,
                  "log_likelihood": evidence, "posterior_of_best": sharpness})  # fmt: skip
        if sharpness > SHARP or evidence - before < _LEVEL * abs(evidence):
            break
        before, narrowed = evidence, adaptive.narrowed(index, best)
    total = folds.without()
    assert total is not None
    state = mapped(state, total, rings)
    return state, _all_in_order(context, state, adaptive, index, best, keep)


def _near(
    context: RunContext, state: SearchState, adaptive: AdaptiveSearch, index: Tensor
) -> PoseEstimates:
    """What the fine grid shows of some particles, which add nothing to the maps."""
    places = adaptive.places(index, context.frame.polar.rings)
    return context.search(state, index, places, accumulate=False).best


def _all_in_order(
    context: RunContext,
    state: SearchState,
    adaptive: AdaptiveSearch,
    index: Tensor,
    best: PoseEstimates,
    keep: Bool[Tensor, " n"],
) -> PoseEstimates:
    """What was found of the kept particles and, searched once, of the others, in stack order."""
    left = adaptive.order()
    left = left[~keep[left]]
    if len(left):
        best = PoseEstimates.joined([best, _near(context, state, adaptive, left)])
        index = torch.cat([index, left])
    return best.at(index.argsort().to(best.reference.device))


def _on_grid(adaptive: AdaptiveSearch, best: PoseEstimates) -> _Assigned:
    return _places(adaptive.posed(torch.arange(len(best.reference)), best), best)


def _unpolished(context: RunContext, state: SearchState, places: _Assigned) -> Ended:
    polished = Polished(state.maps, state.noise, state.scale, state.class_priors, places.posed)
    return Ended(places, polished, context.frame, None, [])


def _places(posed: PoseMatrices, best: PoseEstimates) -> _Assigned:
    return _Assigned(
        posed,
        best.map_probability.cpu(),
        best.probability.cpu(),
        best.log_evidence.cpu(),
    )
