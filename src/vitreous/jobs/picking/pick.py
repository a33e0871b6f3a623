"""Particles found on micrographs, at a false discovery rate that all of them decide together."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float

from vitreous.config.picking import PickConfig
from vitreous.engine.images import optics_of
from vitreous.errors import InputError, OptionError
from vitreous.io.star import StarBlock, write_star
from vitreous.jobs.micrographs.inputs import file_names, stamp_of
from vitreous.jobs.micrographs.workers import workers_for
from vitreous.jobs.picking.references import read_references
from vitreous.jobs.picking.searching import Searching, evidence_of, search_micrograph
from vitreous.particles.columns import as_cells
from vitreous.particles.image_files import name_from, names_in, project_root
from vitreous.particles.relion.micrograph_table import MicrographTable, read_micrographs
from vitreous.particles.relion.names import DEFOCUS, LIST, MERIT, NAME, X, Y
from vitreous.preprocessing.picking.decoys import false_discovery_rates
from vitreous.preprocessing.picking.prepared import prepared_pixel
from vitreous.runs.folder import JobFolder, OnEvent, ignore, job_folder
from vitreous.runs.micrographs import Outcome, Step, Task, process_micrographs
from vitreous.runs.record import job_record, write_record

PICKS = "picks"
"""Folder of the micrographs' STAR files in the job's."""

_BYTES_A_PIXEL, _USUAL = 40, 6000 * 4000
"""That the work on a micrograph takes for each pixel, and pixels of a micrograph to plan by."""

_FEW, _MORE = 5, 1.5
"""Balls a micrograph, and balls for each blob, from which balls are taken."""

_RATE = "vitreousFalseDiscoveryRate"


def _check(config: PickConfig) -> None:
    shortest = config.min_diameter or config.diameter
    for bad, what, option in (
        (config.diameter <= 0, "expected more than 0 A", "--diameter"),
        (not 0 < shortest <= config.diameter,
         f"expected more than 0 and at most {config.diameter:g} A", "--min-diameter"),
        (not 0 < config.fdr < 1, f"{config.fdr:g} is not between 0 and 1", "--fdr"),
        (not 1 <= config.angle_step <= 90, "expected 1 to 90 degrees", "--angle-step"),
    ):  # fmt: skip
        if bad:
            raise OptionError(what, where=option, hint="see vitreous pick --help")


def _chosen(config: PickConfig, table: MicrographTable) -> tuple[MicrographTable, list[str]]:
    """Micrographs that are not rejected, and what was left out."""
    if config.take_rejected:
        return table, []
    kept = np.flatnonzero(~table.rejected)
    if not len(kept):
        raise InputError(
            "all micrographs are rejected", where=table.path, hint="pass --take-rejected"
        )
    gone = len(table) - len(kept)
    said = (
        f"{gone} micrographs that vitreous ctf rejected are left out; --take-rejected takes them."
    )
    return table.take(kept), [said] if gone else []


def _tasks(config: PickConfig, table: MicrographTable) -> list[Task]:
    columns = [table.numbers(column) for column in DEFOCUS]
    images: dict[float, Float[np.ndarray, "k b b"] | None] = {}
    tasks = []
    for row, name in enumerate(table.names):
        group, image = table.optics_of(row), table.images[row]
        pixel = prepared_pixel(group.pixel_size, config.diameter)
        if pixel not in images:
            images[pixel] = read_references(config, pixel)
        u, v, angle, phase = (None if c is None else float(c[row]) for c in columns)
        defocus = None if u is None else (u, u if v is None else v, angle or 0.0, phase or 0.0)
        work = Searching(image, group.pixel_size, optics_of(group), defocus, images[pixel])
        tasks.append(Task(name, work, (), stamp_of(image)))
    return tasks


def _accepted(
    records: Mapping[str, Mapping[str, Any]], side: str, rate: float
) -> dict[str, pl.DataFrame]:
    """Picks of each micrograph, of one contrast, with no more than a share of false ones."""
    known = {name: record[side] for name, record in records.items()}
    rates = false_discovery_rates([evidence_of(record) for record in known.values()])
    found = {}
    for (name, record), own in zip(known.items(), rates, strict=True):
        columns = {X: record["x"], Y: record["y"], MERIT: record["score"], _RATE: own}
        cells = [as_cells(column, np.asarray(values, float)) for column, values in columns.items()]
        found[name] = pl.DataFrame(cells).filter(pl.Series(own <= rate))
    return found


@dataclass(frozen=True)
class _Picked:
    """Picks of one contrast.

    Attributes
    ----------
    contrast : str
        dark or light.
    shape : str
        What they were found as: blob, ball or reference.
    of : dict
        By micrograph.
    """

    contrast: str
    shape: str
    of: dict[str, pl.DataFrame]

    @property
    def count(self) -> int:
        """On all micrographs."""
        return sum(map(len, self.of.values()))


def _picked(config: PickConfig, records: Mapping[str, Mapping[str, Any]]) -> _Picked:
    """The contrast that gives more picks, of those that were searched for, and its picks.

    Particles that touch each other are no blobs: where balls are many more, these are taken.
    """
    first = next(iter(records.values()))
    shape = "blob" if config.references is None else "reference"
    sides = [side for side in ("dark", "light") if first[side] is not None]
    found = [_Picked(side, shape, _accepted(records, side, config.fdr)) for side in sides]
    best = max(found, key=lambda one: one.count)
    if first["balls"] is None:
        return best
    contrast = "light" if config.contrast == "light" else "dark"
    balls = _Picked(contrast, "ball", _accepted(records, "balls", config.fdr))
    return balls if balls.count >= max(_FEW * len(records), _MORE * best.count) else best


def _write(
    job: JobFolder, config: PickConfig, table: MicrographTable, picks: Mapping[str, pl.DataFrame]
) -> None:
    """Write picks.star of all picks, a STAR file for each micrograph, and RELION's list of them."""
    root = project_root(table.rows.frame[NAME], table.files)
    shown = names_in(config.out, table.rows.frame[NAME], table.files)
    rows, files = list[pl.DataFrame](), list[str]()
    for name, written, stem in zip(table.names, shown, file_names(table), strict=True):
        if name not in picks:
            continue
        file = f"{PICKS}/{stem}_picks.star"
        write_star(job.path / file, [StarBlock("", picks[name])])
        files.append(name_from(config.out, config.out / file, root))
        rows.append(picks[name].with_columns(pl.lit(written).alias(NAME)))
    write_star(job.path / "picks.star", [StarBlock("picks", pl.concat(rows))])
    listed = [written for name, written in zip(table.names, shown, strict=True) if name in picks]
    block = StarBlock("coordinate_files", pl.DataFrame({NAME: listed, LIST: files}))
    write_star(job.path / "autopick.star", [block])


def _pick_into(job: JobFolder, config: PickConfig, table: MicrographTable, said: list[str]) -> None:
    began = time.monotonic()
    job.tell({"event": "start", "job": "pick", "micrographs": len(table)})
    step = Step("picking", config, workers_for(config.workers, _BYTES_A_PIXEL * _USUAL))
    work = partial(search_micrograph, config)
    outcome = process_micrographs(job, work, _tasks(config, table), step)
    found = _picked(config, outcome.records)
    total, picks, how = found.count, found.of, {"contrast": found.contrast, "shape": found.shape}
    job.tell({"event": "picked", **how, "picks": total, "fdr": config.fdr})
    if not total:
        raise InputError(
            f"no pick on any of {len(picks)} micrographs at a false discovery rate of "
            f"{config.fdr:g}",
            where=config.micrographs,
            hint="check --diameter and the pixel size, or raise --fdr",
        )
    (job.path / PICKS).mkdir(exist_ok=True)
    _write(job, config, table, picks)
    write_record(
        job.path,
        {
            **job_record("pick", config),
            "input": {"micrographs": len(table)},
            "picks": total,
            **how,
            "micrographs": _per_micrograph(table, outcome, picks),
            "warnings": [*said, *outcome.warnings],
            "timings": {"total_s": round(time.monotonic() - began, 3)},
        },
    )
    job.tell({"event": "done", "out": str(config.out)})


def _per_micrograph(
    table: MicrographTable, outcome: Outcome, picks: Mapping[str, pl.DataFrame]
) -> list[dict[str, Any]]:
    files = dict(zip(table.names, file_names(table), strict=True))
    paths = dict(zip(table.names, table.images, strict=True))
    return [
        {
            "name": name,
            "micrograph": str(paths[name]),
            "pixel_size": table.optics_of(table.names.index(name)).pixel_size,
            "picks": len(own),
            "coordinates": f"{PICKS}/{files[name]}_picks.star",
            "searched": outcome.records[name]["searched"],
        }
        for name, own in picks.items()
    ]


def run_pick(config: PickConfig, on_event: OnEvent = ignore) -> Path:
    """Find particles on micrographs.

    Returns
    -------
    Path of the folder, with picks.star (all picks), a STAR file for each micrograph in picks, their
    list autopick.star as RELION has it, and result.json.

    Raises
    ------
    VitreousError
        For files, options or a folder that cannot be used, and without any pick.
    """
    _check(config)
    table, said = _chosen(config, read_micrographs(config.micrographs))
    with job_folder("pick", config, on_event, table.files.stacks) as job:
        _pick_into(job, config, table, said)
    return config.out
