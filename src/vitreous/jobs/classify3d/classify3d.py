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
from vitreous.engine.adaptive_search import coarse_look
from vitreous.engine.assignments import input_record, noise_record, posed_table
from vitreous.engine.grid_search import SMALL_BOX
from vitreous.engine.junk import class_labels, effective_classes
from vitreous.engine.memory import IMAGES, refine_plan
from vitreous.engine.planes import load_planes
from vitreous.engine.rings import load_rings
from vitreous.engine.sorting import MARCH, SETTLED, duplicates, pass_resolution
from vitreous.engine.state import SearchState
from vitreous.jobs.classify3d.checks import check_options
from vitreous.jobs.classify3d.outputs import (
    Classified3d,
    class_records,
    in_common_frame,
    write_classified,
)
from vitreous.jobs.classify3d.task import Task, set_up
from vitreous.jobs.maps.half_maps import Mask, read_mask
from vitreous.ops.threads import one_thread
from vitreous.particles.grid import common_grid
from vitreous.particles.groups import image_numbers
from vitreous.particles.stack import ImageSource, open_images
from vitreous.particles.table import ParticleTable, read_particles
from vitreous.runs.checkpoint import Checkpoint
from vitreous.runs.contents import digest_of
from vitreous.runs.folder import OnEvent, ignore, job_folder
from vitreous.runs.options import deterministic_on, on_its_threads
from vitreous.runs.record import job_record, write_record
from vitreous.runs.replacement import CHECKPOINT
from vitreous.schedules.class3d.begin import (
    begun,
    consensus,
    guessed_grey,
    marched,
    some,
    split,
    with_grey,
    with_noise,
)
from vitreous.schedules.class3d.finish import class_maps, decoys, final_classes, last_pass
from vitreous.schedules.class3d.pose_search import (
    GridSearch,
    NearLook,
    NearPoses,
    Way,
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
    task: Task, saved: SearchState | None, on_event: OnEvent
) -> tuple[SearchState, Way, float]:
    """State that classes begin with, and how particles are then looked at: near a coarse look."""
    options, table, frame, plan = task.options, task.table, task.frame, task.memory
    on_event({"event": "memory", **plan.record()})
    room = plan.room(IMAGES)
    images = load_rings(table, task.source, frame, task.device, on_event, task.mode, room)
    search = GridSearch(table, frame, images, task.operators, task.device, plan.tiling, options)
    state = saved
    if state is None:
        resolution = task.first_resolution
        power = images.power(len(table.optics))
        state = begun(task.first_maps(), power, task.first_rings)
        if options.reference_greyscale == "relative":
            state = guessed_grey(search, state, resolution)

        def everywhere(state: SearchState, index: Tensor, rings: int) -> Any:
            return search.search(state, index, state.noise, search.places(resolution))

        state = with_grey(options, state, everywhere, len(table))
        if not task.alone:
            index = some(len(table), options)
            state = with_noise(state, everywhere, index, images.mask_share)
        state = marched(search, state, task.making, on_event)
    look = coarse_look(search, state, pass_resolution(options.resolution_limit, 0), any_map=True)
    return state, NearLook(search, look), images.mask_share


def _by_poses(
    task: Task, saved: SearchState | None, on_event: OnEvent
) -> tuple[SearchState, Way, float]:
    """State that classes begin with, and how particles are then looked at: near their poses."""
    options, table, frame = task.options, task.table, task.frame
    plan = refine_plan(options, table, frame.polar.rings, task.device)
    on_event({"event": "memory", **plan.record()})
    room = plan.room(IMAGES)
    planes = load_planes(table, task.source, frame, task.device, on_event, task.mode, room)
    around = near_given(options, len(task.operators), frame)
    way = NearPoses(planes, given_poses(table, frame), image_numbers(table), around, task.operators)
    state = saved
    if state is None:
        state = begun(task.first_maps(), planes.power(len(table.optics)), task.first_rings)
        state = with_grey(options, state, way.searched, len(table))
        if task.alone:
            rings = frame.rings_at(options.resolution_limit)
            state = consensus(way, state, task.making, rings, options.seed)
        else:
            index = some(len(table), options)
            state = with_noise(state, way.searched, index, planes.mask_share)
    return state, way, planes.mask_share


def _keeping(checkpoint: Checkpoint | None, begun: SearchState) -> Callable[[Progress], None]:
    """What is done with each pass's end."""
    return partial(save_progress, checkpoint, begun) if checkpoint else lambda _: None


def _bound(checkpoint: Checkpoint, task: Task, on_event: OnEvent) -> Checkpoint:
    """The checkpoint, of this input alone."""
    volumes = (task.making.mask, *(reference.volume for reference in task.references))
    return replace(checkpoint, inputs=digest_of(task.table, task.source, *volumes), tell=on_event)


def _sorted(
    task: Task, checkpoint: Checkpoint | None, on_event: OnEvent
) -> tuple[Progress, Way, float]:
    """Sort the particles, or go on with it."""
    options = task.options
    checkpoint = checkpoint and _bound(checkpoint, task, on_event)
    saved = load_saved(checkpoint, task.device) if checkpoint and checkpoint.resume else None
    prepare = _by_poses if options.placed else _by_grid
    state, way, share = prepare(task, None if saved is None else saved.begun, on_event)
    folds = way.folds(options.seed)
    if saved is None:
        progress = first_progress(split(options, state, task.making), folds, len(task.table))
    else:
        progress = saved.progress(folds.index)
    step = fold_step(way, task.making, share, divided=options.hard)
    keep = _keeping(checkpoint, state)
    progress = sort(options, task.frame, progress, step, on_event, keep, evenly=task.alone)
    return progress, way, share


def _ended(
    task: Task, progress: Progress, way: Way, share: float, on_event: OnEvent
) -> Classified3d:
    """Last pass, maps and particles."""
    options, frame, making = task.options, task.frame, task.making
    step = fold_step(way, making, share, divided=options.hard)
    on_event({"event": "final_pass", "stage": "last pass", "iteration": 0, "of": 1})
    sorting, found = last_pass(progress.sorting, step, way, frame, leave_noise=task.alone)
    made = class_maps(sorting, making, options.seed)
    shares = sorting.state.fractions
    alike = duplicates(frame, sorting.state, options.resolution_limit)
    alike = {n: other for n, other in alike.items() if n not in making.fixed}
    labels = class_labels(made.maps, shares, alike)
    few = [n + 1 for n, label in enumerate(labels) if label == "empty" and made.maps[n].any()]
    junk = set[int]() if task.alone else decoys(found, task.decoys(labels), task.classes)
    labels = ["decoy" if n in junk else label for n, label in enumerate(labels)]
    classes = final_classes(found, junk)
    laid = (
        {}
        if task.alone or len(task.operators) > 1
        else in_common_frame(made.maps, labels, shares.cpu().numpy(), frame.pixel_size)
    )
    record = {
        "seed": options.seed,
        "device": str(task.device),
        "input": input_record(task.table, frame.grid),
        "classes": class_records(found, classes, labels, alike, made, frame, making.fixed, laid),
        "decoys": sorted(n + 1 for n in junk),
        "recognised_decoys": task.recognised(),
        "effective_classes": effective_classes(found.by_map.mean(axis=0)),
        "passes": len(progress.sorting.changed),
        "changed": progress.sorting.changed,
        "settled": progress.sorting.settled,
        "settled_below": SETTLED,
        "passes_at_limit": max(len(progress.sorting.changed) - MARCH, 0),
        "flow": [table.tolist() for table in progress.flow],
        "noise": noise_record(task.table, found),
        "mask_diameter": task.mask_diameter,
        "resolution_limit": options.resolution_limit,
        "symmetry": options.symmetry,
        "preflight": task.preflight,
        "hand": "as the references'",
    }
    record["warnings"] = [*task.warnings, *findings(record, few)]
    table = posed_table(task.table, found, classes)
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


def _classified(task: Task, checkpoint: Checkpoint | None, on_event: OnEvent) -> Classified3d:
    """Sort the particles of a task that was checked, and make the classes' maps."""
    began = time.monotonic()
    particles = len(task.table)
    on_event(
        {"event": "start", "job": "classify3d", "particles": particles, "warnings": task.warnings}
    )
    on_event({"event": "decoys", "recognised": task.recognised()})
    with deterministic_on(task.device), one_thread(task.frame.box <= SMALL_BOX):
        progress, way, share = _sorted(task, checkpoint, on_event)
        sorted_at = time.monotonic()
        found = _ended(task, progress, way, share, on_event)
    timings = {
        "sorting_s": round(sorted_at - began, 3),
        "final_pass_s": round(time.monotonic() - sorted_at, 3),
    }
    return replace(found, record={**found.record, "timings": timings})


def classify3d(
    table: ParticleTable,
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
    table : ParticleTable
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
    task = set_up(table, images, references, options or Classify3dOptions(), mask)
    return _classified(task, checkpoint, on_event)


def _read(config: Classify3dConfig) -> tuple[Task, Mask | None]:
    """Read and check all that a configuration names."""
    check_options(config, len(config.reference), masked=config.mask is not None)
    table = read_particles(config.particles)
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
    task, mask = _read(config)
    if mask is not None:
        task = replace(task, warnings=[*task.warnings, *mask.warnings])
    with job_folder("classify3d", config, on_event, task.table.stacks) as job:
        checkpoint = Checkpoint(job.path / CHECKPOINT, config, config.resume)
        found = _classified(task, checkpoint, job.tell)
        write_classified(job.path, found)
        timings = {**found.record["timings"], "total_s": round(time.monotonic() - began, 3)}
        record = {**job_record("classify3d", config), **found.record, "timings": timings}
        write_record(job.path, record)
        job.tell({"event": "done", "out": str(config.out)})
    return config.out
