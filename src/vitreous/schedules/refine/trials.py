"""Searches of a sample of the particles from several starts, judged on the same images."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from vitreous.engine.model import of_one_map
from vitreous.math.fourier import resample_map
from vitreous.particles.selection import evenly
from vitreous.runs.folder import OnEvent
from vitreous.schedules.refine.choice import Choice, Start, first_of_the_best, is_better
from vitreous.schedules.refine.context import Begun, RunContext
from vitreous.schedules.refine.global_search import FINEST, GlobalGrid, searched_globally, shells_at
from vitreous.schedules.refine.passes import Loaded, global_search_pass, local_search_pass
from vitreous.schedules.refine.start import from_poses, from_reference
from vitreous.schedules.refine.state import RefineState

SAMPLE = 250
"""Particles of a half that a trial takes: a map takes shape from few."""

_POSED_LOWPASS = 20.0
"""Resolution in angstrom that maps made at given poses are cut at: finer detail is found anew by
each half."""

_FINER = (20.0, 15.0)
"""Resolutions in angstrom that the reference is cut at where a coarser cut misses what is there."""

_PASSES_NEARBY = 6
"""Passes round given poses: their map needs few."""


@dataclass(frozen=True)
class Trial:
    """What a search of the sample came to.

    Attributes
    ----------
    start : Start
    state : RefineState
        Of the sample.
    fit : tensor (sample,)
        Log-evidence of each image, given the map of the other half.
    """

    start: Start
    state: RefineState
    fit: Float[Tensor, " n"]


@dataclass(frozen=True)
class Sample:
    """Some particles of both halves, and their images.

    Attributes
    ----------
    context : RunContext
        Of these particles alone.
    rows : tensor (sample,)
        Of all particles.
    loaded : Loaded
    """

    context: RunContext
    rows: Tensor
    loaded: Loaded


def sample_of(context: RunContext) -> Sample:
    """The particles that all trials of a job take."""
    some = [(m := context.members(half))[evenly(len(m), SAMPLE)] for half in (0, 1)]
    rows = torch.cat(some).sort().values
    table = context.table.take(rows.numpy())
    halves = replace(context.halves, half=context.halves.half[rows.numpy()])
    alone = replace(
        context, table=table, source=context.source.of(table), halves=halves, locality=None
    )
    return Sample(alone, rows, Loaded())


def fit_to_other_half(
    sample: Sample, references: Float[Tensor, "2 n n n"], scale: Float[Tensor, " n"]
) -> Float[Tensor, " n"]:
    """Log-evidence of each image over all poses, given the map that it is not in.

    All maps are compared under one noise, the images' own power, to the finest shell that the grid
    of orientations resolves: at coarse ones a false map may fit as well as the true one.
    """
    context = sample.context
    rings = min(shells_at(FINEST, context.widest), context.most_shells)
    frame = context.frame_of(rings)
    images = replace(sample.loaded.rings_in(context, frame), scale=scale)
    noise = images.power(len(context.table.optics))
    maps, fit = resample_map(references, frame.box), torch.zeros(len(context.table))
    grid = GlobalGrid(
        context.operators, frame.polar.rings, *context.offsets(frame), context.config.seed
    )
    for half in (0, 1):
        index = context.members(half)
        model = of_one_map(maps[1 - half], noise)
        result, _ = searched_globally(model, images, frame, index, grid)
        fit[index] = result.best.log_evidence.cpu()
    return fit


def run_trial(begun: Begun, sample: Sample, start: Start, on_event: OnEvent) -> Trial:
    """Search the sample from a start until the passes settle, and see how well its maps fit."""
    context = sample.context
    most = context.config.iterations // 2
    if start.posed:
        assert begun.poses is not None
        state = from_poses(context, begun.poses.at(sample.rows), sample.loaded, start.lowpass)
        one, most = local_search_pass, min(most, _PASSES_NEARBY)
    else:
        state = from_reference(context, begun.reference, start.lowpass)
        one = global_search_pass
    stage = state.stage
    while state.stage == stage and state.iteration < most:
        state = one(context, state, sample.loaded)
        on_event(
            {
                "event": "trial",
                "stage": f"a sample {start}",
                "iteration": state.iteration,
                "at_most": most,
                "resolution": round(context.field / state.shell, 2),
                "log_likelihood": state.evidence,
            }
        )
    return Trial(start, state, fit_to_other_half(sample, state.references, state.scale))


def choose_start(begun: Begun, sample: Sample, on_event: OnEvent) -> tuple[Choice, Trial]:
    """Search a sample of the particles from several starts, and take the best of them.

    Where two are as good, the search everywhere from the coarser map comes first, and the
    particles' own poses last: the less the halves begin with in common, the more their agreement
    says.

    Returns
    -------
    choice : Choice
    trial : Trial
        The one chosen.
    """
    context, lowpass = begun.context, begun.context.config.lowpass
    trials = [run_trial(begun, sample, Start(lowpass), on_event)]
    posed, missed = [], False
    if begun.poses is not None:
        posed.append(run_trial(begun, sample, Start(_POSED_LOWPASS, posed=True), on_event))
        missed = is_better(posed[0].fit, trials[0].fit)
    if missed:
        finer = [cut for cut in _FINER if context.grid.nyquist < cut < lowpass]
        trials += [run_trial(begun, sample, Start(cut), on_event) for cut in finer]
    trials += posed
    fits = torch.stack([trial.fit for trial in trials])
    chosen = first_of_the_best(fits)
    choice = Choice(
        tuple(trial.start for trial in trials),
        tuple(context.field / trial.state.shell for trial in trials),
        fits,
        chosen,
    )
    on_event({"event": "choice", **choice.record()})
    return choice, trials[chosen]
