"""CTF refinement: magnification first, then odd aberrations, defocus and astigmatism."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from vitreous.config.ctf import CtfRefineConfig
from vitreous.jobs.ctf.comparison import RunContext
from vitreous.jobs.ctf.defocus import refine_astigmatism, refine_defocus
from vitreous.jobs.ctf.magnification import refine_magnification
from vitreous.jobs.ctf.odd_aberrations import OddModel, refine_odd
from vitreous.jobs.ctf.outputs import write_changes, write_phases, written_table
from vitreous.jobs.ctf.setup import open_context, table_warnings
from vitreous.particles.files import write_particles
from vitreous.particles.particle_set import ParticleSet
from vitreous.particles.selection import codes
from vitreous.runs.folder import JobFolder, OnEvent, ignore, job_folder
from vitreous.runs.options import deterministic, on_its_threads
from vitreous.runs.record import job_record, write_record


@on_its_threads
@deterministic
def run_ctf_refine(config: CtfRefineConfig, on_event: OnEvent = ignore) -> Path:
    """Refine what the options ask for.

    Returns
    -------
    Path of the folder, with particles.star, result.json, what changed of the particles
    (changes.csv) and the phases of odd aberrations (odd_phases_group1.mrcs and so on).

    Raises
    ------
    VitreousError
        For files, options or a folder that cannot be used.
    """
    began = time.monotonic()
    context = open_context(config)
    with job_folder("ctf-refine", config, on_event, context.table.stacks) as job:
        _refine_into(job, context, config, began)
    return config.out


def _refine_into(
    job: JobFolder, context: RunContext, config: CtfRefineConfig, began: float
) -> None:
    """Refine what the options ask for, in the order that it builds on, and write it."""
    before, on_event = context.table, job.tell
    on_event({"event": "start", "job": "ctf-refine", "particles": len(context.table)})
    found: dict[str, Any] = {}
    warnings = [*table_warnings(before), *context.warnings]
    if config.magnification:
        context, found["magnification"], more = refine_magnification(context, on_event)
        warnings += more
    if config.beam_tilt or config.trefoil:
        model = OddModel(config.beam_tilt, config.trefoil)
        context, found["odd_aberrations"], pictures = refine_odd(context, model, on_event)
        write_phases(job.path, found["odd_aberrations"], pictures)
    if config.defocus:
        context, found["defocus"], more = refine_defocus(context, config.defocus_range, on_event)
        warnings += more
    if config.astigmatism:
        micrograph = codes(context.table, ParticleSet.micrograph)
        context, found["astigmatism"] = refine_astigmatism(context, micrograph, on_event)
    if config.defocus or config.astigmatism:
        write_changes(job.path, before, context.table)
    write_particles(job.path / "particles.star", written_table(context, config), write=config.write)
    write_record(
        job.path,
        {
            **job_record("ctf-refine", config),
            "seed": config.seed,
            "input": {"particles": len(context.table), "maps": len(context.reference.cubes)},
            "resolution": context.finest,
            **found,
            "warnings": warnings,
            "timings": {"total_s": round(time.monotonic() - began, 3)},
        },
    )
    on_event({"event": "done", "out": str(config.out)})
