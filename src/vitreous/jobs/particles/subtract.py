"""Write particles whose images have lost a part of their signal, or have it back."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from vitreous.errors import OptionError, OutputError
from vitreous.io.mrc import read_map, stack_writer
from vitreous.jobs.config.particles import SubtractConfig
from vitreous.jobs.folder import OnEvent, ignore, prepare_folder
from vitreous.jobs.maps.half_maps import read_mask
from vitreous.jobs.particles.revert import ORIGINAL, reverted
from vitreous.jobs.particles.subtraction import (
    Part,
    Subtraction,
    Task,
    begun,
    check_options,
    map_grid,
    set_up,
)
from vitreous.jobs.record import job_record, write_record
from vitreous.particles.grid import Grid, grids
from vitreous.particles.stack import open_images
from vitreous.particles.table import ParticleTable, image_names, read_particles, write_particles

Work = Callable[[OnEvent], "Subtracted"]
"""What remains to be done once the input is read and checked."""


@dataclass(frozen=True)
class Subtracted:
    """What :func:`run_subtract` wrote.

    Attributes
    ----------
    star : Path
    scales : dict
        Scale of the map by number of the optics group; empty after a reversion.
    warnings : tuple of str
    """

    star: Path
    scales: dict[int, float]
    warnings: tuple[str, ...]


def _check(config: SubtractConfig) -> None:
    check_options(config)
    for bad, what, option in (
        (not config.revert and config.map is None, "a map is needed", "--map"),
        (not config.revert and config.mask is None, "a mask of what is kept is needed", "--mask"),
    ):
        if bad:
            raise OptionError(what, where=option, mend="see vitreous subtract --help")


def _spare(out: Path, inputs: Iterable[Path]) -> None:
    """Refuse to write into a folder that the input lies in."""
    for path in inputs:
        if path.resolve().is_relative_to(out.resolve()):
            raise OutputError(f"holds the input {path}", where=out, mend="give another --out")


def _open(config: SubtractConfig) -> Work:
    assert config.map is not None and config.mask is not None
    table = read_particles(config.particles)
    array, pixel_size = read_map(config.map)
    volume, names = torch.from_numpy(array), (str(config.map), str(config.mask))
    map_grid(volume, pixel_size, table, names[0])
    mask = read_mask(config.mask, config.map, len(volume), pixel_size)
    part = Part(volume, mask.volume, pixel_size, *names)
    task = set_up(table, open_images(table), part, config)
    _spare(config.out, (config.particles, config.map, config.mask, *table.stacks))
    return partial(_subtract, config, task, mask.warnings)


def _subtract(
    config: SubtractConfig, task: Task, warnings: tuple[str, ...], on_event: OnEvent
) -> Subtracted:
    found = begun(task, on_event)
    warnings += found.warnings
    star = config.out / "particles.star"
    write_particles(star, _written(found, config.out, on_event))
    boxes = [group.box for group in found.table.optics]
    record = {
        **job_record("subtract", config),
        "input": {"particles": len(task.table), "box": task.part.box},
        "scales": found.scales.record,
        "centre": found.framing and found.framing.centre,
        "box": boxes[0] if len(set(boxes)) == 1 else boxes,
        "warnings": warnings,
    }
    write_record(config.out, record)
    return Subtracted(star, found.scales.of_group, warnings)


def _written(found: Subtraction, out: Path, on_event: OnEvent) -> ParticleTable:
    """Write the images, a stack for each grid, and give their table.

    It keeps the names of the images that these were made from.
    """
    table, sizes = found.table, grids(found.table)
    stacks = (
        [out / "particles.mrcs"]
        if len(sizes) == 1
        else [out / f"particles{number}.mrcs" for number in range(1, len(sizes) + 1)]
    )
    order = list(sizes)
    own = np.array([order.index(Grid(g.box, g.pixel_size)) for g in table.optics])[table.group]
    with ExitStack() as opened:
        writers = [
            opened.enter_context(stack_writer(stack, grid.box, count, grid.pixel_size))
            for stack, (grid, count) in zip(stacks, sizes.items(), strict=True)
        ]
        done = 0
        for images in found.batches(on_event):
            writers[own[done]].append(images)
            done += len(images)
    index = np.empty(len(table), dtype=np.int64)
    for number in range(len(sizes)):
        index[own == number] = np.arange(int((own == number).sum()))
    originals = image_names(table, out, keep=True).alias(ORIGINAL)
    return replace(
        table,
        block=table.block.with_frame(table.block.frame.with_columns(originals)),
        stacks=tuple(stacks),
        stack_of=own.astype(np.int32),
        index_in_stack=index,
    )


def _open_to_revert(config: SubtractConfig) -> Work:
    table, warnings = reverted(read_particles(config.particles, need_images=False))
    _spare(config.out, (config.particles, *table.stacks))
    return partial(_revert, config, table, warnings)


def _revert(
    config: SubtractConfig, table: ParticleTable, warnings: tuple[str, ...], _: OnEvent
) -> Subtracted:
    star = config.out / "particles.star"
    write_particles(star, table, keep_names=True)
    record = {**job_record("subtract", config), "scales": [], "warnings": warnings}
    write_record(config.out, record)
    return Subtracted(star, {}, warnings)


def run_subtract(config: SubtractConfig, on_event: OnEvent = ignore) -> Subtracted:
    """Subtract a part of a map from particles, or give them their images back.

    Writes particles.star, result.json and, but for a reversion, particles.mrcs (particles1.mrcs and
    so on where optics groups differ in box or pixel size) into a fresh folder that is removed again
    if anything fails.

    Raises
    ------
    VitreousError
        For files and options that cannot be used.
    """
    _check(config)
    work = (_open_to_revert if config.revert else _open)(config)
    prepare_folder(config.out, overwrite=config.overwrite)
    try:
        on_event({"event": "start", "job": "subtract"})
        done = work(on_event)
        on_event({"event": "done", "out": str(config.out)})
    except BaseException:
        shutil.rmtree(config.out, ignore_errors=True)
        raise
    return done
