"""2D classification: class averages of particles, and which of them are worth keeping."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vitreous.config.classify2d import Class2dConfig, Class2dOptions
from vitreous.engine.comm import require_same_input
from vitreous.engine.grid_search import SMALL_BOX
from vitreous.jobs.class2d.checks import check_options
from vitreous.jobs.class2d.context import RunContext, set_up
from vitreous.jobs.class2d.outputs import Class2d, gathered, write_class2d
from vitreous.ops.threads import one_thread
from vitreous.particles.files import read_particles
from vitreous.particles.particle_set import ParticleSet
from vitreous.particles.stack import ImageSource, open_images
from vitreous.runs.checkpoint import Checkpoint
from vitreous.runs.contents import digest_of
from vitreous.runs.folder import JobFolder, OnEvent, ignore, job_folder
from vitreous.runs.options import deterministic_on, on_its_threads
from vitreous.runs.record import job_record, write_record
from vitreous.runs.replacement import CHECKPOINT
from vitreous.schedules.class2d.finish import finished
from vitreous.schedules.class2d.online import first_state, went_through
from vitreous.schedules.class2d.state import (
    ClassState,
    class_state_from,
    class_state_record,
    class_state_tensors,
)

Keep = Callable[[ClassState], None]


def _forget(_: ClassState) -> None:
    """Keep nothing of a state."""


def _classified(
    context: RunContext, saved: ClassState | None, keep: Keep, on_event: OnEvent
) -> Class2d:
    """Classes of the particles of a task that was checked."""
    began = time.monotonic()
    with deterministic_on(context.device), one_thread(context.frame.box <= SMALL_BOX):
        loaded = context.loaded(on_event)
        state = went_through(loaded, saved or first_state(loaded), on_event, keep)
        searched_at = time.monotonic()
        ended = finished(loaded, state, on_event)
        found = gathered(context, loaded, state, ended)
    timings = {
        "mini_batches_s": round(searched_at - began, 3),
        "last_passes_s": round(time.monotonic() - searched_at, 3),
    }
    return replace(found, record={**found.record, "timings": timings})


def class2d(
    table: ParticleSet,
    images: ImageSource,
    options: Class2dOptions | None = None,
    *,
    on_event: OnEvent = ignore,
) -> Class2d:
    """Sort particles among class averages, once.

    Parameters
    ----------
    table : ParticleSet
    images : ImageSource
        Of the table, or of one that this was made from.
    options : Class2dOptions, optional
        The defaults, if left out.
    on_event : callable
        Is told of progress and decisions, as mappings.

    Raises
    ------
    InputError, OptionError
        For input or options that cannot be used.
    """
    return _classified(set_up(table, images, options or Class2dOptions()), None, _forget, on_event)


def _keeping(checkpoint: Checkpoint, number: int, rows: Tensor) -> Keep:
    """Write the state of a round of the particles in some rows."""

    def keep(state: ClassState) -> None:
        tensors = {"rows": rows, **class_state_tensors(state)}
        checkpoint.write(tensors, {"round": number, "state": class_state_record(state)})

    return keep


def _saved(checkpoint: Checkpoint, device: torch.device) -> tuple[int, Tensor, ClassState]:
    """Round, rows and state of a checkpoint."""

    def build(tensors: dict[str, Tensor], record: dict[str, Any]) -> tuple[int, Tensor, ClassState]:
        state = class_state_from(tensors, record["state"], device)
        return record["round"], tensors["rows"], state

    return checkpoint.read(build)


def _rounds(context: RunContext, job: JobFolder, config: Class2dConfig) -> Class2d:
    """Classify the particles, then those in classes worth keeping, as often as asked."""
    checkpoint = Checkpoint(
        job.path / CHECKPOINT,
        config,
        config.resume,
        inputs=digest_of(context.table, context.source),
        tell=job.tell,
    )
    require_same_input(checkpoint.inputs, context.table.path)
    number, rows, saved = 1, torch.arange(len(context.table)), None
    if config.resume:
        number, rows, saved = _saved(checkpoint, context.device)
    while True:
        table = context.table.take(rows.numpy())
        job.tell({"event": "round", "round": number, "of": config.rounds, "particles": len(table)})
        keep = _keeping(checkpoint, number, rows)
        found = _classified(context.among(table), saved, keep, job.tell)
        kept = found.kept
        found = replace(found, record={**found.record, "round": number})
        if number == config.rounds or not 2 <= kept.sum() < len(rows):
            return found
        name = f"round{number}"
        (job.path / name).mkdir(exist_ok=True)
        write_class2d(job.path / name, job.out / name, found, config.write)
        write_record(job.path / name, {**job_record("class2d", config), **found.record})
        rows, number, saved = rows[torch.from_numpy(np.flatnonzero(kept))], number + 1, None


@on_its_threads
def run_class2d(config: Class2dConfig, on_event: OnEvent = ignore) -> Path:
    """Sort the particles of a file among class averages.

    Parameters
    ----------
    config : Class2dConfig
    on_event : callable
        Is told of progress and decisions, as mappings.

    Returns
    -------
    Path of the output folder, holding class_averages.mrcs, particles.star, RELION's model.star
    and result.json.

    Raises
    ------
    VitreousError
        For input, options or output that cannot be used; nothing is then left half-written.
    """
    began = time.monotonic()
    check_options(config)
    table = read_particles(config.particles)
    context = set_up(table, open_images(table), config)
    with job_folder("class2d", config, on_event, table.stacks) as job:
        start = {"event": "start", "job": "class2d", "particles": len(table)}
        job.tell({**start, "warnings": context.warnings})
        found = _rounds(context, job, config)
        write_class2d(job.path, job.out, found, config.write)
        timings = {**found.record["timings"], "total_s": round(time.monotonic() - began, 3)}
        record = {**job_record("class2d", config), **found.record, "timings": timings}
        write_record(job.path, record)
        job.tell({"event": "done", "out": str(config.out)})
    return config.out
