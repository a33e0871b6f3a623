"""Where a search starts: everywhere with the reference, or round the particles' own poses."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vitreous.engine.halves import HalfFound, halves_pass
from vitreous.engine.local_pass import PoseMatrices, local_pass
from vitreous.engine.maps import signal_scale
from vitreous.engine.model import of_one_map
from vitreous.engine.rings import load_rings
from vitreous.engine.searches.local import neighbourhood
from vitreous.imaging.filters import low_pass
from vitreous.particles.contrast import read_scales
from vitreous.schedules.refine.context import RunContext
from vitreous.schedules.refine.global_search import FINEST
from vitreous.schedules.refine.passes import Loaded, ahead, compared, learnt
from vitreous.schedules.refine.reference import cut_reference
from vitreous.schedules.refine.state import RefineState

_NEARBY = FINEST / 2
"""First angular step in degrees round poses that are known to be near."""

_FIRST_SHARE = 0.3
"""Of the images' power at low resolution that the reference is given in the first pass."""

_FIRST_SHIFT = 1.0
"""First step of the shifts round the particles' places, over the pixel of the widest frame."""


def _nowhere(count: int) -> PoseMatrices:
    return PoseMatrices(
        torch.eye(3, dtype=torch.float64).repeat(count, 1, 1), torch.zeros(count, 2)
    )


def blank_state(context: RunContext, start: PoseMatrices | None) -> RefineState:
    """State that knows no map yet, of particles at some poses (angstrom) or nowhere."""
    count = len(context.table)
    posed = _nowhere(count) if start is None else start
    return RefineState(
        iteration=0,
        stage="global" if start is None else "local",
        step=context.config.local_search or _NEARBY,
        shift_step=_FIRST_SHIFT * context.widest.pixel_size,
        shell=1,
        evidence=-float("inf"),
        references=torch.zeros(2, 2, 2, 2),
        noise=torch.ones(2, len(context.table.optics), 1),
        matrices=posed.matrices,
        origins=posed.origins,
        probability=torch.zeros(count),
        log_evidence=torch.zeros(count),
        scale=torch.from_numpy(read_scales(context.table)).float(),
    )


def shell_at(context: RunContext, lowpass: float) -> int:
    """Shell that a map cut at a resolution in angstrom is taken to reach."""
    return max(1, round(context.field / lowpass) - 2)


def from_reference(
    context: RunContext, reference: Float[Tensor, "n n n"], lowpass: float
) -> RefineState:
    """Both halves start with the reference, cut and at the images' grey level.

    Particles are where a local search holds them, or nowhere.
    """
    cut = cut_reference(reference, context.grid, lowpass, context.operators)
    frame = context.frame(lowpass)
    images = context.read(load_rings, frame)
    scale = signal_scale(cut[None], images, frame, frame.polar.rings, _FIRST_SHARE)
    return replace(
        blank_state(context, None if context.locality is None else context.locality.start),
        shell=shell_at(context, lowpass),
        references=(cut * scale).expand(2, -1, -1, -1).to(context.device),
        noise=images.power(len(context.table.optics)).expand(2, -1, -1),
    )


def from_poses(
    context: RunContext, poses: PoseMatrices, loaded: Loaded, lowpass: float
) -> RefineState:
    """Each half starts with a map of its own particles at their poses (angstrom), cut.

    What the poses owe to a map of all particles is thereby forgotten as far as the cut.
    """
    shell = shell_at(context, lowpass)
    frame = context.frame_of(ahead(shell))
    images = loaded.planes_in(context, frame)
    noise = images.power(len(context.table.optics))
    there = neighbourhood(_NEARBY, 0.0, torch.zeros(1, 2), context.operators, 1.0)
    empty = of_one_map(torch.zeros((frame.box,) * 3, device=context.device), noise)
    blank = replace(blank_state(context, poses), noise=noise.expand(2, -1, -1))
    begun = blank.unsearched(frame)

    def as_posed(half: int, index: Int[Tensor, " m"]) -> HalfFound:
        present = begun.posed.at(index)
        result = local_pass(empty, images, index, present, there, frame.polar.rings)
        return HalfFound(result, present)

    searched = halves_pass(begun, context.both_halves, as_posed, frame)
    state = learnt(context, blank, compared(context, searched.unfiltered, frame))
    references = torch.stack([low_pass(m, frame.pixel_size, lowpass) for m in state.references])
    return replace(state, references=references, shell=shell)


def for_all(context: RunContext, tried: RefineState, start: PoseMatrices | None) -> RefineState:
    """State of all particles, with the maps that a sample of them gave."""
    names = ("iteration", "shell", "evidence", "references", "noise")
    return replace(blank_state(context, start), **{name: getattr(tried, name) for name in names})
