"""Gold-standard refinement: two halves of the particles, each with a map of its own."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from vitreous.config.refine import RefineConfig
from vitreous.engine.comm import require_same_input
from vitreous.engine.grid_search import SMALL_BOX
from vitreous.engine.memory import IMAGES, refine_plan
from vitreous.jobs.refine.begin import begin
from vitreous.jobs.refine.outputs import Ended, write_results
from vitreous.ops.threads import one_thread
from vitreous.runs.checkpoint import Checkpoint
from vitreous.runs.contents import digest_of
from vitreous.runs.folder import OnEvent, ignore, job_folder
from vitreous.runs.options import deterministic, on_its_threads
from vitreous.runs.replacement import CHECKPOINT
from vitreous.schedules.refine.context import Begun, RunContext
from vitreous.schedules.refine.gold import Halves
from vitreous.schedules.refine.passes import (
    Loaded,
    global_frame,
    global_search_pass,
    last_pass,
    local_search_pass,
    report_pass,
)
from vitreous.schedules.refine.start import for_all, from_reference
from vitreous.schedules.refine.state import FREE, RefineState, load_state, save_state
from vitreous.schedules.refine.trials import choose_start, fit_to_other_half, sample_of


def _iterated(
    context: RunContext,
    state: RefineState,
    loaded: Loaded,
    checkpoint: Checkpoint,
    on_event: OnEvent,
) -> RefineState:
    """Passes until the resolution and the poses have settled, each ending in a checkpoint."""
    while state.stage != "done" and state.iteration < context.config.iterations:
        one = local_search_pass if state.stage == "local" else global_search_pass
        state = one(context, state, loaded)
        save_state(checkpoint, state)
        report_pass(context, state, on_event)
    return state


def _first_state(begun: Begun, on_event: OnEvent) -> RefineState:
    """Where all particles start: what trials on a sample chose, or the local search asked for."""
    context = begun.context
    if context.locality is not None:
        return from_reference(context, begun.reference, context.config.lowpass)
    choice, trial = choose_start(begun, sample_of(context), on_event)
    if len(choice.fits[0]) == len(context.table):
        return replace(trial.state, choice=choice)
    poses = begun.poses if choice.start.posed else None
    return replace(for_all(context, trial.state, poses), choice=choice)


def _ended(context: RunContext, state: RefineState, halves: Halves) -> Ended:
    """How the search ended, and how well its maps fit the images that starts were tried on."""
    if state.choice is None:
        return Ended(state, halves, None)
    sample = sample_of(context)
    fit = fit_to_other_half(sample, state.references, state.scale[sample.rows])
    return Ended(state, halves, fit)


@on_its_threads
@deterministic
def run_refine(config: RefineConfig, on_event: OnEvent = ignore) -> Path:
    """Refine a map and all poses by the gold standard.

    Returns
    -------
    Path of the folder, with map.mrc, half1.mrc, half2.mrc, mask.mrc, sharpened.mrc, fsc.xml,
    particles.star and result.json.

    Raises
    ------
    VitreousError
        For input, options or output that cannot be used; nothing is then left half-written.

    Notes
    -----
    Scheres & Chen, Nat. Methods 9, 853 (2012): the halves are searched with maps of their own,
    filtered by what both agree on.
    """
    began = time.monotonic()
    begun = begin(config)
    context, loaded = begun.context, Loaded()
    plan = refine_plan(
        config, context.table, context.most_shells, context.device, global_frame(context).polar
    )
    plan.check(context.table.path)
    context = replace(context, room=plan.room(IMAGES))
    inputs = digest_of(context.table, context.source, begun.reference, context.mask)
    require_same_input(inputs, context.table.path)
    with job_folder("refine", config, on_event, context.table.stacks) as job:
        start = {"particles": len(context.table), "warnings": begun.warnings}
        job.tell({"event": "start", "job": "refine", **start})
        job.tell({"event": "memory", **plan.record()})
        path = job.path / CHECKPOINT
        checkpoint = Checkpoint(path, config, config.resume, FREE, inputs, job.tell)
        with one_thread(context.grid.box <= SMALL_BOX):
            if config.resume:
                state = load_state(checkpoint, context.device)
            else:
                state = _first_state(begun, job.tell)
                save_state(checkpoint, state)
            state = _iterated(context, state, loaded, checkpoint, job.tell)
            state, halves = last_pass(context, state, loaded)
            report_pass(context, state, job.tell)
            write_results(begun, _ended(context, state, halves), job.path, began)
        job.tell({"event": "done", "out": str(config.out)})
    return config.out
