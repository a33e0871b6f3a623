"""3D classification: from references to classes by passes over all particles in folds."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor

from vitreous.config.classify import Classify3dConfig, Classify3dOptions
from vitreous.engine.adaptive_search import coarse_search
from vitreous.engine.assignments import input_record, noise_record, posed_table
from vitreous.engine.comm import require_same_input
from vitreous.engine.grid_search import SMALL_BOX
from vitreous.engine.junk import class_labels, effective_classes
from vitreous.engine.memory import IMAGES, refine_plan
from vitreous.engine.planes import load_planes
from vitreous.engine.rings import load_rings
from vitreous.engine.sorting import MARCH, SETTLED, duplicates, pass_resolution
from vitreous.engine.state import SearchState
from vitreous.jobs.classify3d.checks import check_options
from vitreous.jobs.classify3d.context import RunContext, set_up
from vitreous.jobs.classify3d.outputs import (
    Classified3d,
    class_records,
    in_common_frame,
    write_classified,
)
from vitreous.jobs.maps.half_maps import Mask, read_mask
from vitreous.jobs.particles.chosen import chosen_particles
from vitreous.ops.threads import one_thread
from vitreous.particles.grid import common_grid
from vitreous.particles.groups import image_numbers
from vitreous.particles.particle_set import ParticleSet
from vitreous.particles.stack import ImageSource, open_images
from vitreous.runs.checkpoint import Checkpoint
from vitreous.runs.contents import digest_of
from vitreous.runs.folder import OnEvent, ignore, job_folder
from vitreous.runs.options import deterministic_on, on_its_threads
from vitreous.runs.record import job_record, write_record
from vitreous.runs.replacement import CHECKPOINT
from vitreous.schedules.class3d.begin import (
    begun,
    consensus,
    guessed_intensity,
    marched,
    some,
    split,
    with_intensity_scale,
    with_noise,
)
from vitreous.schedules.class3d.finish import class_maps, decoys, final_classes, last_pass
from vitreous.schedules.class3d.pose_search import (
    FineSearch,
    GridSearch,
    NearPoses,
    PoseSearch,
    given_poses,
    near_given,
)
from vitreous.schedules.class3d.references import Reference, read_reference
from vitreous.schedules.class3d.sort import (
    Progress,
    first_progress,
    load_saved,
    save_progress,
    sort,
)
from vitreous.schedules.class3d.steps import fold_step


def _by_grid(
    context: RunContext, saved: SearchState | None, on_event: OnEvent
) -> tuple[SearchState, PoseSearch, float]:
    """State that classes begin with, and how particles are then looked at: near a coarse look."""
    options, table, frame, plan = context.options, context.table, context.frame, context.memory
    on_event({"event": "memory", **plan.record()})
    room = plan.room(IMAGES)
    images = load_rings(table, context.source, frame, context.device, on_event, context.mode, room)
    search = GridSearch(
        table, frame, images, context.operators, context.device, plan.tiling, options
    )
    state = saved
    if state is None:
        resolution = context.first_resolution
        power = images.power(len(table.optics))
        state = begun(context.first_maps(), power, context.first_rings)
        if options.reference_greyscale == "relative":
            state = guessed_intensity(search, state, resolution)

        def everywhere(state: SearchState, index: Tensor, rings: int) -> Any:
            return search.search(state, index, search.places(resolution))

        state = with_intensity_scale(options, state, everywhere, len(table))
        if not context.alone:
            index = some(len(table), options)
            state = with_noise(state, everywhere, index, images.mask_share)
        state = marched(search, state, context.making, on_event)
    adaptive = coarse_search(
        search, state, pass_resolution(options.resolution_limit, 0), any_map=True
    )
    return state, FineSearch(search, adaptive), images.mask_share


def _by_poses(
    context: RunContext, saved: SearchState | None, on_event: OnEvent
) -> tuple[SearchState, PoseSearch, float]:
    """State that classes begin with, and how particles are then looked at: near their poses."""
    options, table, frame = context.options, context.table, context.frame
    plan = refine_plan(options, table, frame.polar.rings, context.device)
    on_event({"event": "memory", **plan.record()})
    room = plan.room(IMAGES)
    planes = load_planes(table, context.source, frame, context.device, on_event, context.mode, room)
    around = near_given(options, context.operators, frame)
    pose_search = NearPoses(planes, given_poses(table, frame), image_numbers(table), around)
    state = saved
    if state is None:
        state = begun(context.first_maps(), planes.power(len(table.optics)), context.first_rings)
        state = with_intensity_scale(options, state, pose_search.searched, len(table))
        if context.alone:
            rings = frame.rings_at(options.resolution_limit)
            state = consensus(pose_search, state, context.making, rings, options.seed)
        else:
            index = some(len(table), options)
            state = with_noise(state, pose_search.searched, index, planes.mask_share)
    return state, pose_search, planes.mask_share


def _keeping(checkpoint: Checkpoint | None, begun: SearchState) -> Callable[[Progress], None]:
    """What is done with each pass's end."""
    return partial(save_progress, checkpoint, begun) if checkpoint else lambda _: None


def _bound(checkpoint: Checkpoint, context: RunContext, on_event: OnEvent) -> Checkpoint:
    """The checkpoint, of this input alone."""
    volumes = (context.making.mask, *(reference.volume for reference in context.references))
    inputs = digest_of(context.table, context.source, *volumes)
    require_same_input(inputs, context.table.path)
    return replace(checkpoint, inputs=inputs, tell=on_event)


def _sorted(
    context: RunContext, checkpoint: Checkpoint | None, on_event: OnEvent
) -> tuple[Progress, PoseSearch, float]:
    """Sort the particles, or go on with it."""
    options = context.options
    checkpoint = checkpoint and _bound(checkpoint, context, on_event)
    saved = load_saved(checkpoint, context.device) if checkpoint and checkpoint.resume else None
    prepare = _by_poses if options.placed else _by_grid
    state, pose_search, share = prepare(context, None if saved is None else saved.begun, on_event)
    folds = pose_search.folds(options.seed)
    if saved is None:
        progress = first_progress(split(options, state, context.making), folds, len(context.table))
    else:
        progress = saved.progress(folds.index)
    step = fold_step(pose_search, context.making, share, divided=options.hard)
    keep = _keeping(checkpoint, state)
    progress = sort(options, context.frame, progress, step, on_event, keep, evenly=context.alone)
    return progress, pose_search, share


def _ended(
    context: RunContext,
    progress: Progress,
    pose_search: PoseSearch,
    share: float,
    on_event: OnEvent,
) -> Classified3d:
    """Last pass, maps and particles."""
    options, frame, making = context.options, context.frame, context.making
    step = fold_step(pose_search, making, share, divided=options.hard)
    on_event({"event": "final_pass", "stage": "last pass", "iteration": 0, "of": 1})
    sorting, found = last_pass(
        progress.sorting, step, pose_search, frame, leave_noise=context.alone
    )
    made = class_maps(sorting, making, options.seed)
    shares = sorting.state.class_priors
    alike = duplicates(frame, sorting.state, options.resolution_limit)
    alike = {n: other for n, other in alike.items() if n not in making.fixed}
    labels = class_labels(made.maps, shares, alike)
    few = [n + 1 for n, label in enumerate(labels) if label == "empty" and made.maps[n].any()]
    decoy_classes = (
        set[int]() if context.alone else decoys(found, context.decoys(labels), context.classes)
    )
    labels = ["decoy" if n in decoy_classes else label for n, label in enumerate(labels)]
    classes = final_classes(found, decoy_classes)
    laid = (
        {}
        if context.alone or len(context.operators) > 1
        else in_common_frame(made.maps, labels, shares.cpu().numpy(), frame.pixel_size)
    )
    record = {
        "seed": options.seed,
        "device": str(context.device),
        "input": input_record(context.table, frame.grid),
        "classes": class_records(found, classes, labels, alike, made, frame, making.fixed, laid),
        "decoys": sorted(n + 1 for n in decoy_classes),
        "recognised_decoys": context.recognised(),
        "effective_classes": effective_classes(found.by_map.mean(axis=0)),
        "passes": len(progress.sorting.changed),
        "changed": progress.sorting.changed,
        "settled": progress.sorting.settled,
        "settled_below": SETTLED,
        "passes_at_limit": max(len(progress.sorting.changed) - MARCH, 0),
        "flow": [table.tolist() for table in progress.flow],
        "noise": noise_record(context.table, found),
        "mask_diameter": context.mask_diameter,
        "resolution_limit": options.resolution_limit,
        "symmetry": options.symmetry,
        "preflight": context.preflight,
        "hand": "as the references'",
    }
    record["warnings"] = [*context.warnings, *findings(record, few)]
    table = posed_table(context.table, found, classes)
    return Classified3d(
        made.maps, made.half1, made.half2, made.curves, laid, making.fixed, frame, table, record
    )


def findings(record: dict[str, Any], few: list[int]) -> list[str]:
    """Warnings on what was found; ``few`` are the classes with hardly any particles."""
    told = [f"Class {number} holds hardly any particles." for number in few]
    passes, changed = record["passes"], record["changed"]
    if not record["passes_at_limit"]:
        told.append(
            f"The job ended after {passes} passes, before it had seen the particles at "
            f"{record['resolution_limit']:.3g} A: the classes are not final. Give --iterations "
            f"{MARCH + 1} or more."
        )
    elif not record["settled"]:
        told.append(
            f"The classes had not settled after {passes} passes: {changed[-1]:.1%} of the "
            f"particles changed class in the last, and settled is less than "
            f"{record['settled_below']:.0%}. Give more --iterations, or fewer classes."
        )
    return told


def _classified(
    context: RunContext, checkpoint: Checkpoint | None, on_event: OnEvent
) -> Classified3d:
    """Sort the particles of a task that was checked, and make the classes' maps."""
    began = time.monotonic()
    particles = len(context.table)
    on_event(
        {
            "event": "start",
            "job": "classify3d",
            "particles": particles,
            "warnings": context.warnings,
        }
    )
    on_event({"event": "decoys", "recognised": context.recognised()})
    with deterministic_on(context.device), one_thread(context.frame.box <= SMALL_BOX):
        progress, pose_search, share = _sorted(context, checkpoint, on_event)
        sorted_at = time.monotonic()
        found = _ended(context, progress, pose_search, share, on_event)
    timings = {
        "sorting_s": round(sorted_at - began, 3),
        "final_pass_s": round(time.monotonic() - sorted_at, 3),
    }
    return replace(found, record={**found.record, "timings": timings})


def classify3d(
    table: ParticleSet,
    images: ImageSource,
    references: Sequence[Reference],
    options: Classify3dOptions | None = None,
    *,
    mask: Float[Tensor, "m m m"] | None = None,
    checkpoint: Checkpoint | None = None,
    on_event: OnEvent = ignore,
) -> Classified3d:
    """Sort particles among several maps, made from one reference or from one each.

    Parameters
    ----------
    table : ParticleSet
    images : ImageSource
        Of the table, or of one that this was made from.
    references : sequence of Reference
        One is split into ``options.classes``; of several each begins a class of its own.
    options : Classify3dOptions, optional
        The defaults, if left out.
    mask : tensor (m, m, m), optional
        From 0 to 1, on the maps' grid: maps are multiplied by it before they are compared
        with images.
    checkpoint : Checkpoint, optional
        Written after every pass, and gone on from if it says so.
    on_event : callable
        Is told of progress and decisions, as mappings.

    Raises
    ------
    InputError, OptionError
        For input or options that cannot be used.
    """
    context = set_up(table, images, references, options or Classify3dOptions(), mask)
    return _classified(context, checkpoint, on_event)


def read_inputs(config: Classify3dConfig) -> tuple[RunContext, Mask | None]:
    """Read and check all that a configuration names; nothing is written.

    Raises
    ------
    VitreousError
        For the first thing that cannot be used, and for want of memory.
    """
    check_options(config, len(config.reference), masked=config.mask is not None)
    table = chosen_particles(config)
    source = open_images(table)
    references = [read_reference(path) for path in config.reference]
    mask = None
    if config.mask is not None:
        grid = common_grid(table, [reference.grid for reference in references])
        mask = read_mask(config.mask, table.path, grid.box, grid.pixel_size)
    return set_up(table, source, references, config, None if mask is None else mask.volume), mask


@on_its_threads
def run_classify3d(config: Classify3dConfig, on_event: OnEvent = ignore) -> Path:
    """Sort the particles of a file among maps made from those of others.

    Parameters
    ----------
    config : Classify3dConfig
    on_event : callable
        Is told of progress and decisions, as mappings.

    Returns
    -------
    Path of the output folder, holding class001.mrc ..., their half-maps, particles.star and
    result.json.

    Raises
    ------
    VitreousError
        For input, options or output that cannot be used; nothing is then left half-written.
    """
    began = time.monotonic()
    context, mask = read_inputs(config)
    if mask is not None:
        context = replace(context, warnings=[*context.warnings, *mask.warnings])
    with job_folder("classify3d", config, on_event, context.table.stacks) as job:
        checkpoint = Checkpoint(job.path / CHECKPOINT, config, config.resume)
        found = _classified(context, checkpoint, job.tell)
        write_classified(job.path, found, config.write)
        timings = {**found.record["timings"], "total_s": round(time.monotonic() - began, 3)}
        record = {**job_record("classify3d", config), **found.record, "timings": timings}
        write_record(job.path, record)
        job.tell({"event": "done", "out": str(config.out)})
    return config.out
