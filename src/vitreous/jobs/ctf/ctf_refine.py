"""CTF refinement: magnification first, then odd aberrations, defocus and astigmatism."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from vitreous.config.ctf import CtfRefineConfig
from vitreous.jobs.ctf.comparison import Problem
from vitreous.jobs.ctf.defocus import refine_astigmatism, refine_defocus
from vitreous.jobs.ctf.magnification import refine_magnification
from vitreous.jobs.ctf.odd_aberrations import OddModel, refine_odd
from vitreous.jobs.ctf.outputs import write_changes, write_phases, written_table
from vitreous.jobs.ctf.setup import open_problem, table_warnings
from vitreous.particles.table import write_particles
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
    problem = open_problem(config)
    with job_folder("ctf-refine", config, on_event, problem.table.stacks) as job:
        _refine_into(job, problem, config, began)
    return config.out


def _refine_into(job: JobFolder, problem: Problem, config: CtfRefineConfig, began: float) -> None:
    """Refine what the options ask for, in the order that it builds on, and write it."""
    before, on_event = problem.table, job.tell
    on_event({"event": "start", "job": "ctf-refine", "particles": len(problem.table)})
    found: dict[str, Any] = {}
    warnings = [*table_warnings(before), *problem.warnings]
    if config.magnification:
        problem, found["magnification"], more = refine_magnification(problem, on_event)
        warnings += more
    if config.beam_tilt or config.trefoil:
        model = OddModel(config.beam_tilt, config.trefoil)
        problem, found["odd_aberrations"], pictures = refine_odd(problem, model, on_event)
        write_phases(job.path, found["odd_aberrations"], pictures)
    if config.defocus:
        problem, found["defocus"], more = refine_defocus(problem, config.defocus_range, on_event)
        warnings += more
    if config.astigmatism:
        names = problem.table.block.frame["rlnMicrographName"]
        micrograph = names.rank("dense").to_numpy().astype(np.int64)
        problem, found["astigmatism"] = refine_astigmatism(problem, micrograph, on_event)
    if config.defocus or config.astigmatism:
        write_changes(job.path, before, problem.table)
    write_particles(job.path / "particles.star", written_table(problem, config))
    write_record(
        job.path,
        {
            **job_record("ctf-refine", config),
            "seed": config.seed,
            "input": {"particles": len(problem.table), "maps": len(problem.reference.cubes)},
            "resolution": problem.finest,
            **found,
            "warnings": warnings,
            "timings": {"total_s": round(time.monotonic() - began, 3)},
        },
    )
    on_event({"event": "done", "out": str(config.out)})
