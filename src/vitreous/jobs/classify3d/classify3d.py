"""3D classification: from references to classes by passes over all particles in folds."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from vitreous.jobs.classify3d.begin import (
    begun,
    consensus,
    guessed_grey,
    marched,
    split,
    with_grey,
)
from vitreous.jobs.classify3d.checks import check_classify3d, fixed_maps, within_box
from vitreous.jobs.classify3d.finish import class_maps, decoys, final_classes, last_pass
from vitreous.jobs.classify3d.outputs import class_records, in_common_frame, write_maps
from vitreous.jobs.classify3d.references import (
    Reference,
    compare_references,
    filtered,
    read_references,
)
from vitreous.jobs.classify3d.sort import Progress, first_progress, load_saved, sort
from vitreous.jobs.classify3d.steps import MapMaking, fold_step
from vitreous.jobs.classify3d.ways import (
    GridSearch,
    NearLook,
    NearPoses,
    Way,
    given_poses,
    near_given,
)
from vitreous.jobs.config_classify import Classify3dConfig
from vitreous.jobs.em.found import input_record, noise_record, posed_table
from vitreous.jobs.em.junk import class_labels, effective_classes
from vitreous.jobs.em.looks import coarse_look
from vitreous.jobs.em.planes import load_planes
from vitreous.jobs.em.search import SMALL_BOX, image_power
from vitreous.jobs.em.sorting import duplicates, pass_resolution
from vitreous.jobs.em.state import SearchState
from vitreous.jobs.folder import OnEvent, ignore, prepare_folder
from vitreous.jobs.images import BEYOND, CtfMode, Frame, load_rings, working_frame
from vitreous.jobs.maps.half_maps import read_mask
from vitreous.jobs.memory import search_memory
from vitreous.jobs.options import device_for
from vitreous.jobs.record import job_record, write_record
from vitreous.kernels.compiler import COMPILED, NOT_COMPILED
from vitreous.kernels.threads import one_thread
from vitreous.math.fourier import resample
from vitreous.math.symmetry import point_group
from vitreous.particles.stack import ImageSource, open_images
from vitreous.particles.table import ParticleTable, read_particles, write_particles

_CHECKPOINT = "checkpoint.safetensors"


@dataclass(frozen=True)
class _Task:
    """All that a classification is given."""

    config: Classify3dConfig
    table: ParticleTable
    source: ImageSource
    frame: Frame
    references: list[Reference]
    making: MapMaking
    operators: torch.Tensor
    device: torch.device
    on_event: OnEvent

    @property
    def mode(self) -> CtfMode:
        config = self.config
        return CtfMode(config.ctf, config.phase_flipped, config.ignore_ctf_until_first_peak)

    @property
    def rings(self) -> int:
        """Rings that the references are filtered to."""
        return self.frame.rings_at(self.config.first_resolution)

    def first_maps(self) -> torch.Tensor:
        """References, filtered, in the working frame."""
        maps = filtered(self.references, self.frame, self.config.first_resolution)
        return self.making.allowed(maps.to(self.device))


def _by_grid(task: _Task, saved: SearchState | None) -> tuple[SearchState, Way, float]:
    """State that classes begin with, and how particles are then looked at: near a coarse look."""
    config, table, frame = task.config, task.table, task.frame
    step, maps = config.angular_sampling, max(config.count, len(task.references))
    plan = search_memory(
        maps, step, config.precision, table, frame, len(task.operators), task.device
    )
    plan.check(table.path)
    task.on_event({"event": "memory", **plan.record()})
    images = load_rings(table, task.source, frame, task.device, task.on_event, task.mode)
    search = GridSearch(table, frame, images, task.operators, task.device, plan.tiling, config)
    state = saved
    if state is None:
        resolution = config.first_resolution
        power = image_power(images, len(table.optics))
        state = begun(task.first_maps(), power, task.rings)
        if config.reference_greyscale == "relative":
            state = guessed_grey(search, state, resolution)

        def everywhere(state: SearchState, index: torch.Tensor, rings: int) -> Any:
            return search.search(state, index, state.noise, search.places(resolution))

        state = with_grey(config, state, everywhere, len(table))
        state = marched(search, state, task.making, task.on_event)
    look = coarse_look(search, state, pass_resolution(config.resolution_limit, 0), any_map=True)
    return state, NearLook(search, look), images.mask_share


def _by_poses(task: _Task, saved: SearchState | None) -> tuple[SearchState, Way, float]:
    """State that classes begin with, and how particles are then looked at: near their poses."""
    config, table, frame = task.config, task.table, task.frame
    images = load_planes(table, task.source, frame, task.device, task.on_event, task.mode)
    around = near_given(config, table, len(task.operators), frame)
    way = NearPoses(images, given_poses(table, frame), around, task.operators)
    state = saved
    if state is None:
        state = begun(task.first_maps(), images.power(len(table.optics)), task.rings)
        state = with_grey(config, state, way.searched, len(table))
        if len(task.references) == 1:
            rings = frame.rings_at(config.resolution_limit)
            state = consensus(way, state, task.making, rings, config.seed)
    return state, way, images.mask_share


def _classify(task: _Task) -> tuple[Progress, Way, float]:
    """Sort the particles, or go on with it."""
    config, checkpoint = task.config, task.config.out / _CHECKPOINT
    saved = load_saved(checkpoint, config) if config.resume else None
    prepare = _by_poses if config.placed else _by_grid
    state, way, share = prepare(task, None if saved is None else saved.begun)
    folds = way.folds(config.seed)
    if saved is None:
        progress = first_progress(split(config, state, task.making), folds, len(task.table))
    else:
        progress = saved.progress(folds.index)
    step = fold_step(way, task.making, share, divided=config.hard)
    progress = sort(config, task.frame, progress, step, task.on_event, checkpoint, state,
                    evenly=len(task.references) == 1)  # fmt: skip
    return progress, way, share


def _task(
    config: Classify3dConfig,
    table: ParticleTable,
    source: ImageSource,
    mask_diameter: float,
    on_event: OnEvent,
) -> tuple[_Task, list[str]]:
    """Read the references and the mask; also returns warnings."""
    device = device_for(config.device)
    frame = working_frame(table, mask_diameter, config.resolution_limit, BEYOND)
    references, warnings = read_references(config.reference, table, frame)
    warnings += compare_references(references, frame, stop=config.check)
    mask, group = None, table.optics[0]
    if config.mask is not None:
        found = read_mask(config.mask, table.path, group.box, group.pixel_size)
        warnings += found.warnings
        # Values of a mask stay: the unitary transform would scale them with the box.
        volume = resample(found.volume, frame.box, 3) * (frame.box / group.box) ** 1.5
        mask = volume.clamp(0, 1).to(device)
    making = MapMaking(frame, config.flatten, config.regularisation, mask, fixed_maps(config))
    operators = point_group(config.symmetry)
    task = _Task(config, table, source, frame, references, making, operators, device, on_event)
    return task, warnings


def _write(task: _Task, progress: Progress, way: Way, share: float) -> dict[str, Any]:
    """Last pass, maps and particles; returns what result.json says of the classes."""
    config, frame, making = task.config, task.frame, task.making
    step = fold_step(way, making, share, divided=config.hard)
    alone = len(task.references) == 1
    task.on_event({"event": "final_pass", "stage": "last pass", "iteration": 0, "of": 1})
    sorting, found = last_pass(progress.sorting, step, way, frame, leave_noise=alone)
    made = class_maps(sorting, making, config.seed)
    shares = sorting.state.fractions
    alike = duplicates(frame, sorting.state, config.resolution_limit)
    labels = class_labels(made.maps, shares, alike - set(making.fixed))
    given = {n for n, r in enumerate(task.references) if r.round} if not alone else set()
    junk = decoys(found, given | set(making.fixed), config.count) if not alone else set()
    classes = final_classes(found, junk)
    laid = (
        {}
        if alone or len(task.operators) > 1
        else in_common_frame(made.maps, labels, shares.cpu().numpy(), frame.pixel_size)
    )
    write_maps(config.out, made, laid, frame, task.table.optics[0].box, making.fixed)
    write_particles(config.out / "particles.star", posed_table(task.table, found, classes))
    return {
        "classes": class_records(found, classes, labels, made, frame, making.fixed, laid),
        "decoys": sorted(n + 1 for n in junk),
        "effective_classes": effective_classes(found.by_map.mean(axis=0)),
        "passes": len(progress.sorting.changed),
        "changed": progress.sorting.changed,
        "settled": progress.sorting.settled,
        "flow": [table.tolist() for table in progress.flow],
        "noise": noise_record(task.table, found),
    }


def _told(config: Classify3dConfig, classes: dict[str, Any]) -> list[str]:
    """Warnings on what was found."""
    empty = [entry["class"] for entry in classes["classes"] if entry["label"] == "empty"]
    told = [f"Class {number} holds hardly any particles." for number in empty]
    if not classes["settled"]:
        told.append(
            f"The classes had not settled after {classes['passes']} passes: in the last, "
            f"{classes['changed'][-1]:.1%} of the particles changed class. Give more --iterations, "
            "or fewer classes."
        )
    return told


def run_classify3d(config: Classify3dConfig, on_event: OnEvent = ignore) -> Path:
    """Sort particles among several maps, made from one reference or from one each.

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
    torch.use_deterministic_algorithms(True)
    began = time.monotonic()
    table = read_particles(config.particles)
    source = open_images(table)
    mask_diameter, warnings, checked = check_classify3d(config, table, source)
    used = within_box(config, table)
    task, more = _task(used, table, source, mask_diameter, on_event)
    warnings += more
    if task.device.type == "cpu" and not COMPILED:
        warnings.append(NOT_COMPILED)
    prepare_folder(config.out, overwrite=config.overwrite, resume=config.resume)
    on_event({"event": "start", "job": "classify3d", "particles": len(table), "warnings": warnings})
    with one_thread(task.frame.box <= SMALL_BOX):
        progress, way, share = _classify(task)
        sorted_at = time.monotonic()
        classes = _write(task, progress, way, share)
    result = {
        **job_record("classify3d", config),
        "seed": config.seed,
        "device": str(task.device),
        "input": input_record(table),
        **classes,
        "mask_diameter": mask_diameter,
        "resolution_limit": used.resolution_limit,
        "symmetry": config.symmetry,
        "preflight": checked,
        "hand": "as the references'",
        "warnings": [*warnings, *_told(config, classes)],
        "timings": {
            "sorting_s": round(sorted_at - began, 3),
            "final_pass_s": round(time.monotonic() - sorted_at, 3),
            "total_s": round(time.monotonic() - began, 3),
        },
    }
    write_record(config.out, result)
    on_event({"event": "done", "out": str(config.out)})
    return config.out
