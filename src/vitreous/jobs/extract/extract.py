"""Particles cut out of micrographs: picked ones, or refined ones once again."""

from __future__ import annotations

import hashlib
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from vitreous.config.extract import ExtractConfig
from vitreous.engine.images import optics_of
from vitreous.errors import OptionError
from vitreous.jobs.extract.cutting import Cutting, cut_micrograph, extraction_of, final_box
from vitreous.jobs.extract.picked import picked_particles
from vitreous.jobs.extract.refined import refined_particles
from vitreous.jobs.extract.source import Images, Source
from vitreous.jobs.micrographs.inputs import file_names, stamp_of
from vitreous.jobs.micrographs.workers import workers_for
from vitreous.particles.image_files import ImageFiles
from vitreous.particles.relion.micrograph_table import MicrographTable, read_micrographs
from vitreous.runs.folder import JobFolder, OnEvent, ignore, job_folder
from vitreous.runs.micrographs import Outcome, Step, Task, process_micrographs
from vitreous.runs.record import job_record, write_record

STACKS = "images"
"""Folder of the stacks in the job's."""

_BYTES_A_PIXEL = 24
"""That the work on a micrograph takes for each of its pixels, and for those of boxes at a time."""

_USUAL = 6000 * 4000
"""Pixels of a micrograph, to plan by."""


def _check(config: ExtractConfig) -> None:
    """Require options that go together.

    Raises
    ------
    OptionError
        Naming the one at fault.
    """
    again = config.particles is not None
    of_refined = config.recentre or config.recentre_on or config.reset_origins
    sizes = {"--box": config.box, "--scale": config.scale, "--ctf-box": config.ctf_box}
    odd = [name for name, size in sizes.items() if size is not None and (size < 2 or size % 2)]
    for bad, what, option in (
        (odd, "expected an even number of pixels", odd[0] if odd else ""),
        (again == (config.coordinates is not None),
         "give either coordinates or particles to extract again", "--coordinates, --particles"),
        (not again and (of_refined or config.micrograph_ctf),
         "only particles that are extracted again have origins", "--recentre, --reset-origins"),
        (again and config.min_merit is not None,
         "only picks have a figure of merit here; use vitreous select", "--min-merit"),
        (config.ctf_box is not None and config.ctf_box < config.box,
         f"smaller than the box of {config.box}", "--ctf-box"),
        (config.float16 and not config.normalise,
         "only normalised images fit into 16 bits", "--float16"),
        (any(d is not None and d <= 0 for d in (config.white_dust, config.black_dust)),
         "expected more than 0 standard deviations", "--white-dust, --black-dust"),
    ):  # fmt: skip
        if bad:
            raise OptionError(what, where=option, hint="see vitreous extract --help")


def _stamp(work: Cutting) -> str:
    """What a record of a former run is known by to be of the same input."""
    return f"{stamp_of(work.micrograph)} {hashlib.sha256(work.xy.tobytes()).hexdigest()[:16]}"


def _tasks(
    config: ExtractConfig, table: MicrographTable, source: Source, folder: Path
) -> dict[int, Task]:
    """The work on each micrograph that has particles, by its row."""
    names = [f"{STACKS}/{name}.mrcs" for name in file_names(table)]
    tasks = {}
    order = np.argsort(source.micrograph, kind="stable")
    rows, starts = np.unique(source.micrograph[order], return_index=True)
    for row, own in zip(rows.tolist(), np.split(order, starts[1:]), strict=True):
        group = table.optics_of(row)
        extraction_of(config, group.pixel_size)  # its options are wrong before any work
        work = Cutting(
            table.images[row],
            folder / names[row],
            group.pixel_size,
            source.xy[own],
            None if config.ctf == "keep" else source.defocus(own),
            optics_of(group),
            config.seed + row,
        )
        tasks[row] = Task(table.names[row], work, (names[row],), _stamp(work))
    return tasks


def _images(
    config: ExtractConfig, tasks: dict[int, Task], source: Source, outcome: Outcome, out: Path
) -> Images:
    """The images that were cut, in the order of their particles."""
    stacks, stack_of = list[Path](), np.full(len(source.micrograph), -1)
    for row, task in tasks.items():
        record = outcome.records.get(task.name)
        if record is None:
            continue
        own = np.flatnonzero(source.micrograph == row)
        stack_of[np.delete(own, record["outside"])] = len(stacks)
        stacks.append(out / task.files[0])
    rows = np.flatnonzero(stack_of >= 0)
    files = ImageFiles.of_stacks(tuple(stacks), stack_of[rows])
    box = final_box(config)
    return Images(rows, files, box, config.box / box, config.ctf)


def _warnings(source: Source, outcome: Outcome) -> list[str]:
    """What the user should know."""
    beyond = sum(len(record["outside"]) for record in outcome.records.values())
    said = [f"{beyond:,} particles whose boxes lie beyond their micrographs are left out."]
    return [*source.warnings, *(said if beyond else []), *outcome.warnings]


def _extract_into(
    job: JobFolder, config: ExtractConfig, table: MicrographTable, source: Source
) -> None:
    began = time.monotonic()
    job.tell({"event": "start", "job": "extract", "particles": len(source.micrograph)})
    (job.path / STACKS).mkdir(exist_ok=True)
    tasks = _tasks(config, table, source, job.path)
    workers = workers_for(config.workers, _BYTES_A_PIXEL * _USUAL)
    step = Step("extraction", config, workers)
    outcome = process_micrographs(job, partial(cut_micrograph, config), list(tasks.values()), step)
    images = _images(config, tasks, source, outcome, config.out)
    source.write(job.path / "particles.star", images)
    write_record(
        job.path,
        {
            **job_record("extract", config),
            "input": {"micrographs": len(table), "particles": len(source.micrograph)},
            "particles": len(images.rows),
            "box": images.box,
            "pixel_sizes": [group.pixel_size * images.binning for group in table.optics],
            "micrographs": _per_micrograph(outcome),
            "warnings": _warnings(source, outcome),
            "timings": {"total_s": round(time.monotonic() - began, 3)},
        },
    )
    job.tell({"event": "done", "out": str(config.out)})


def _per_micrograph(outcome: Outcome) -> list[dict[str, Any]]:
    return [
        {"name": name, "particles": record["particles"], "outside": len(record["outside"])}
        for name, record in outcome.records.items()
    ]


def run_extract(config: ExtractConfig, on_event: OnEvent = ignore) -> Path:
    """Cut particles out of micrographs.

    Returns
    -------
    Path of the folder, with particles.star, result.json and a stack for each micrograph in images.

    Raises
    ------
    VitreousError
        For files, options or a folder that cannot be used.
    """
    _check(config)
    table = read_micrographs(config.micrographs)
    make = picked_particles if config.particles is None else refined_particles
    source = make(config, table)
    with job_folder("extract", config, on_event, table.files.stacks) as job:
        _extract_into(job, config, table, source)
    return config.out
