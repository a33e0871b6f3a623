"""The CTFs of micrographs, each with its standard errors and a verdict."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from vitreous.config.ctf_estimation import CtfConfig
from vitreous.engine.images import optics_of
from vitreous.errors import OptionError
from vitreous.jobs.ctf_estimation.estimation import Estimating, estimate_micrograph
from vitreous.jobs.micrographs.inputs import file_names, stamp_of
from vitreous.jobs.micrographs.workers import workers_for
from vitreous.particles.image_files import name_from, project_root
from vitreous.particles.relion.micrograph_table import MicrographTable, read_micrographs
from vitreous.particles.relion.names import ESTIMATED, NAME, OF_PLATES, PICTURE, VERDICT
from vitreous.runs.folder import JobFolder, OnEvent, ignore, job_folder
from vitreous.runs.micrographs import Outcome, Step, Task, process_micrographs
from vitreous.runs.record import job_record, write_record

SPECTRA = "spectra"
"""Folder of the pictures and curves in the job's."""

_BYTES_A_PIXEL = 40
"""That the work on a micrograph takes for each of its pixels."""

_USUAL = 6000 * 4000
"""Pixels of a micrograph, to plan by."""


def _check(config: CtfConfig) -> None:
    for bad, what, option in (
        (not 0 < config.min_defocus < config.max_defocus,
         f"expected 0 < {config.min_defocus:g} < {config.max_defocus:g}",
         "--min-defocus, --max-defocus"),
        (config.max_astigmatism < 0, "expected 0 or more", "--max-astigmatism"),
        (not 0 < config.resolution_limit < config.lowest_resolution / 2,
         "expected the finest to be less than half the coarsest",
         "--resolution-limit, --lowest-resolution"),
    ):  # fmt: skip
        if bad:
            raise OptionError(what, where=option, hint="see vitreous ctf --help")


def _tasks(table: MicrographTable, folder: Path) -> list[Task]:
    tasks = []
    for row, stem in enumerate(file_names(table)):
        group, image = table.optics_of(row), table.images[row]
        files = (f"{SPECTRA}/{stem}_ctf.mrc", f"{SPECTRA}/{stem}.csv")
        picture, curves = (folder / file for file in files)
        work = Estimating(image, picture, curves, group.pixel_size, optics_of(group))
        tasks.append(Task(table.names[row], work, files, stamp_of(image)))
    return tasks


def _written(
    table: MicrographTable, config: CtfConfig, outcome: Outcome, pictures: Mapping[str, str]
) -> MicrographTable:
    """The micrographs whose CTF was estimated, with it."""
    rows = [row for row, name in enumerate(table.names) if name in outcome.records]
    kept = table.take(np.array(rows))
    records = [outcome.records[name] for name in kept.names]
    columns = {
        column: [f"{record[key]:.6f}" for record in records]
        for key, column in ESTIMATED.items()
        if config.phase_shift or key not in OF_PLATES
    }
    columns[PICTURE] = [f"{pictures[name]}:mrc" for name in kept.names]
    columns[VERDICT] = [record["verdict"] for record in records]
    return kept.without(*(ESTIMATED[key] for key in OF_PLATES)).with_columns(columns)


def _estimate_into(job: JobFolder, config: CtfConfig, table: MicrographTable) -> None:
    began = time.monotonic()
    job.tell({"event": "start", "job": "ctf", "micrographs": len(table)})
    (job.path / SPECTRA).mkdir(exist_ok=True)
    tasks = _tasks(table, job.path)
    step = Step("CTF estimation", config, workers_for(config.workers, _BYTES_A_PIXEL * _USUAL))
    outcome = process_micrographs(job, partial(estimate_micrograph, config), tasks, step)
    root = project_root(table.rows.frame[NAME], table.files)
    pictures = {
        task.name: name_from(config.out, config.out / task.files[0], root) for task in tasks
    }
    _written(table, config, outcome, pictures).write(job.path / "micrographs_ctf.star")
    words = Counter(record["verdict"] for record in outcome.records.values())
    files = {task.name: task.files for task in tasks}
    write_record(
        job.path,
        {
            **job_record("ctf", config),
            "input": {"micrographs": len(table)},
            "verdicts": {word: words[word] for word in ("keep", "doubtful", "reject")},
            "micrographs": _named(outcome, files),
            "warnings": outcome.warnings,
            "timings": {"total_s": round(time.monotonic() - began, 3)},
        },
    )
    job.tell({"event": "done", "out": str(config.out)})


def _named(outcome: Outcome, files: Mapping[str, tuple[str, ...]]) -> list[dict[str, Any]]:
    """Records with the micrographs' names and files."""
    return [
        {"name": name, "picture": files[name][0], "curves": files[name][1], **record}
        for name, record in outcome.records.items()
    ]


def run_ctf(config: CtfConfig, on_event: OnEvent = ignore) -> Path:
    """Estimate the CTF of every micrograph.

    Returns
    -------
    Path of the folder, with micrographs_ctf.star, result.json, and for each micrograph a picture of
    its spectrum beside the fit and the fit's curves, in spectra.

    Raises
    ------
    VitreousError
        For files, options or a folder that cannot be used.
    """
    _check(config)
    table = read_micrographs(config.micrographs)
    with job_folder("ctf", config, on_event, table.files.stacks) as job:
        _estimate_into(job, config, table)
    return config.out
