"""The passes of a refinement: both halves searched, and what the one learns from the other."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vitreous.engine.halves import HalfFound, SearchedHalves, halves_pass
from vitreous.engine.images import Frame
from vitreous.engine.local_pass import PoseMatrices, local_pass
from vitreous.engine.model import Residuals, of_one_map, renewed_noise
from vitreous.engine.planes import PlaneImages, load_planes
from vitreous.engine.rings import RingImages, load_rings
from vitreous.engine.searches.local import Neighbourhood, neighbourhood
from vitreous.engine.searches.sampling import shift_cells, shift_grid
from vitreous.math.fourier import resample_map
from vitreous.runs.folder import OnEvent
from vitreous.schedules.refine.change import Change, change_of
from vitreous.schedules.refine.context import RunContext
from vitreous.schedules.refine.continuous import continuous_poses
from vitreous.schedules.refine.global_search import FINEST, GlobalGrid, searched_globally, shells_at
from vitreous.schedules.refine.gold import Halves, gold_standard, references_from
from vitreous.schedules.refine.scales import group_contrast, particle_contrast
from vitreous.schedules.refine.state import RefineState

REACH = 1.7
"""Steps that a neighbourhood extends from its centre."""

_NOISE_RATE = 1.0
"""Share of the noise spectrum renewed by a pass: all, as it has seen all particles."""

_EVERYWHERE = 3
"""Passes everywhere at the least: the first have a coarse map to go by, and misplace many."""

_PLACING = 0.01
"""Relative rise of the mean log-evidence that tells of particles still finding their place."""

_AHEAD, _AHEAD_SHARE = 6, 0.25
"""Shells used beyond the resolution, at the least, and over it: so it can rise."""

_SHARP = 0.6
"""Mean posterior of the best place above which a lattice is too coarse for the poses."""

_SETTLED = 0.05
"""Relative rise of the mean log-evidence below which a pass has changed nothing."""


@dataclass
class Loaded:
    """Images as the last pass needed them, kept as long as the next needs the same."""

    rings: tuple[int, RingImages] | None = None
    planes: tuple[int, PlaneImages] | None = None

    def rings_in(self, context: RunContext, frame: Frame) -> RingImages:
        """Rings out to the frame's last."""
        if self.rings is None or self.rings[0] != frame.polar.rings:
            self.rings = None  # before others are read
            self.rings = frame.polar.rings, context.read(load_rings, frame)
        return self.rings[1]

    def planes_in(self, context: RunContext, frame: Frame) -> PlaneImages:
        """Half-planes out to the frame's last ring; rings are let go."""
        self.rings = None
        if self.planes is None or self.planes[0] != frame.polar.rings:
            self.planes = None
            self.planes = frame.polar.rings, context.read(load_planes, frame)
        return self.planes[1]


def ahead(shell: int) -> int:
    """Shells that a pass uses when the resolution is at ``shell``."""
    return shell + max(_AHEAD, round(_AHEAD_SHARE * shell))


def fitted(noise: Float[Tensor, "2 g s"], shells: int) -> Float[Tensor, "2 g m"]:
    """Noise spectra cut, or carried on at their last value, to a number of shells."""
    more = max(0, shells - noise.shape[2])
    return torch.cat([noise, noise[:, :, -1:].expand(-1, -1, more)], dim=2)[:, :, :shells]


def _renewed(
    results: list[Residuals], noise: Float[Tensor, "2 g s"], mask_share: float
) -> Float[Tensor, "2 g s"]:
    parts = [
        renewed_noise(spectra, result, mask_share, _NOISE_RATE)
        for spectra, result in zip(noise, results, strict=True)
    ]
    return torch.stack(parts)


def _shared(context: RunContext) -> float:
    """Shells to which the halves share their density."""
    return context.field / context.config.join_halves


def compared(
    context: RunContext, unfiltered: Float[Tensor, "2 n n n"], frame: Frame, *, join: bool = True
) -> Halves:
    """Both halves' maps, and how far they agree."""
    seed = context.config.seed
    return gold_standard(
        unfiltered, frame, shared=_shared(context), join=join, mask=context.mask, seed=seed
    )


def learnt(context: RunContext, state: RefineState, halves: Halves) -> RefineState:
    """The state with the resolution that the halves agree to, and the references it allows."""
    nonuniform = context.config.regulariser == "nonuniform"
    references = references_from(halves, shared=_shared(context), nonuniform=nonuniform)
    return replace(heard(state, halves), references=references)


def heard(state: RefineState, halves: Halves) -> RefineState:
    """The state with the resolution and the FSC of the halves."""
    fsc = [round(float(value), 4) for value in halves.curves.corrected]
    return replace(state, shell=max(halves.shell, 1), fsc=fsc)


def global_frame(context: RunContext) -> Frame:
    """Working box of a search of all orientations, whose grid tells no more."""
    return context.frame_of(min(shells_at(FINEST, context.widest), context.most_shells))


def global_search_pass(context: RunContext, state: RefineState, loaded: Loaded) -> RefineState:
    """Search all orientations and shifts; the grid sets how far the resolution may rise."""
    most = min(shells_at(FINEST, context.widest), context.most_shells)
    frame = global_frame(context)
    images = replace(loaded.rings_in(context, frame), scale=state.scale)
    noise = fitted(state.noise, frame.polar.rings)
    references = resample_map(state.references, frame.box)
    rings = min(ahead(state.shell), frame.polar.rings)
    offsets = context.offsets(frame)

    def search(half: int, index: Int[Tensor, " m"]) -> HalfFound:
        result, posed = searched_globally(
            of_one_map(references[half], noise[half]),
            images,
            frame,
            index,
            GlobalGrid(context.operators, rings, *offsets, context.config.seed + state.iteration),
        )
        return HalfFound(result, posed)

    searched = halves_pass(state.unsearched(frame), context.both_halves, search, frame)
    halves = compared(context, searched.unfiltered, frame)
    stalled = halves.shell <= state.shell or ahead(halves.shell) > most
    mean = float(searched.log_evidence.mean())
    placing = mean - state.evidence >= _PLACING * abs(mean)
    settled = stalled and not placing and state.iteration + 1 >= _EVERYWHERE
    new = _after(context, state, searched, images, frame)
    new = replace(new, stage="local" if settled else "global")
    return learnt(context, new, halves)


def _around(context: RunContext, state: RefineState, frame: Frame) -> Neighbourhood:
    pixel_step = state.shift_step / frame.pixel_size
    reach = context.config.offset_range * context.grid.pixel_size
    shifts = shift_grid(REACH * pixel_step, pixel_step)
    cells = shift_cells(reach, state.shift_step)
    around = neighbourhood(state.step, REACH, shifts, context.operators, cells)
    local = context.locality
    if local is None:
        return around
    fulcrum = None if local.fulcrum is None else local.fulcrum / frame.pixel_size
    return replace(around, mates=local.mates, fulcrum=fulcrum)


def _after(
    context: RunContext,
    state: RefineState,
    searched: SearchedHalves,
    images: RingImages | PlaneImages,
    frame: Frame,
) -> RefineState:
    """The state after a pass: noise, contrasts and poses renewed."""
    residuals, scale = list(searched.residuals), searched.scale
    if state.stage == "global" or not context.config.per_particle_scale:
        scale = group_contrast(residuals, state.scale, images.group)
    origins = searched.posed.origins * frame.pixel_size
    change, placed = Change((), ()), state.probability > 0  # by an earlier pass, or a trial
    if state.iteration > 0 and placed.any():
        matrices = (state.matrices[placed], searched.posed.matrices[placed])
        moved = (state.origins[placed], origins[placed])
        change = change_of(matrices, moved, context.operators)
    return replace(
        state,
        iteration=state.iteration + 1,
        evidence=float(searched.log_evidence.mean()),
        noise=_renewed(residuals, fitted(state.noise, frame.polar.rings), images.mask_share),
        matrices=searched.posed.matrices,
        origins=origins,
        probability=searched.probability,
        log_evidence=searched.log_evidence,
        scale=scale,
        angle_change=list(change.angles),
        shift_change=list(change.shifts),
    )


def searched_locally(
    context: RunContext,
    state: RefineState,
    loaded: Loaded,
    shells: int,
    *,
    continuous: bool = False,
) -> tuple[RefineState, Float[Tensor, "2 n n n"], Frame]:
    """Search the neighbourhoods of all places, each half with its own map; new maps of both.

    Continuous poses are moved off the lattice first, and kept.  The maps are then those of a
    lattice centred anew on them: a pose alone would leave out its uncertainty.
    """
    frame = context.frame_of(shells)
    images = replace(loaded.planes_in(context, frame), scale=state.scale)
    shells = frame.polar.rings
    noise = fitted(state.noise, shells)
    references = resample_map(state.references, frame.box)
    around, begun = _around(context, state, frame), state.unsearched(frame)
    local, per_particle = context.locality, context.config.per_particle_scale

    def search(half: int, index: Int[Tensor, " m"]) -> HalfFound:
        present = begun.posed.at(index)
        if continuous:
            present = continuous_poses(
                references[half], images, index, present, noise[half], shells
            )
        result = local_pass(
            of_one_map(references[half], noise[half]),
            images,
            index,
            present,
            around,
            shells,
            prior=None if local is None else local.prior(index, present, frame.pixel_size),
        )
        best = result.best
        posed = present if continuous else PoseMatrices(best.matrices, best.origins)
        former, group = state.scale[index], images.group[index]
        scale = particle_contrast(best, former, group) if per_particle else None
        return HalfFound(result, posed, scale)

    searched = halves_pass(begun, context.both_halves, search, frame)
    return _after(context, state, searched, images, frame), searched.unfiltered, frame


def local_search_pass(context: RunContext, state: RefineState, loaded: Loaded) -> RefineState:
    """Search the neighbourhoods, with halved steps next or until nothing changes.

    The steps are halved as long as most of a particle's posterior lies at one place of the
    lattice; a finer one could then tell more.
    """
    new, unfiltered, frame = searched_locally(context, state, loaded, ahead(state.shell))
    halves = compared(context, unfiltered, frame)
    gained = halves.shell > state.shell
    settled = new.evidence - state.evidence < _SETTLED * abs(new.evidence)
    sharp = float(new.probability.mean()) > _SHARP
    done = settled and not gained and not sharp
    new = replace(
        new,
        stage="done" if done else "local",
        step=new.step / 2 if sharp else new.step,
        shift_step=new.shift_step / 2 if sharp else new.shift_step,
    )
    return learnt(context, new, halves)


def last_pass(
    context: RunContext, state: RefineState, loaded: Loaded
) -> tuple[RefineState, Halves]:
    """Search the neighbourhoods once more with all shells there are, and make the half-maps.

    The halves share nothing now, so that their FSC is their own at all resolutions.
    """
    local = context.locality
    free = context.config.continuous and (local is None or not local.holds)
    state, unfiltered, frame = searched_locally(
        context, state, loaded, context.most_shells, continuous=free
    )
    halves = compared(context, unfiltered, frame, join=False)
    return heard(state, halves), halves


def report_pass(context: RunContext, state: RefineState, on_event: OnEvent) -> None:
    """Tell how a pass ended."""
    on_event(
        {
            "event": "refinement",
            "stage": "passes over the particles",
            "iteration": state.iteration,
            "at_most": context.config.iterations,
            "next": state.stage,
            "resolution": round(context.field / state.shell, 2),
            "angular_sampling": FINEST if state.stage == "global" else state.step,
            "shift_step": state.shift_step,
            "posterior_of_best": float(state.probability[state.probability > 0].mean()),
            "log_likelihood": state.evidence,
            "angle_change": state.angle_change,
            "shift_change": state.shift_change,
            "fsc": state.fsc,
            "field": context.field,
        }
    )
