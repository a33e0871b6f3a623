"""Write particles whose images have lost a part of their signal, or have it back."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from vitreous.config.particles import SubtractConfig
from vitreous.errors import OptionError
from vitreous.io.mrc import read_map, stack_writer
from vitreous.jobs.maps.half_maps import read_mask
from vitreous.jobs.particles.revert import reverted
from vitreous.jobs.particles.subtraction import (
    Part,
    Subtraction,
    Task,
    begun,
    check_options,
    map_grid,
    set_up,
)
from vitreous.particles.files import image_names, read_particles, write_particles
from vitreous.particles.grid import Grid, grids
from vitreous.particles.image_files import ImageFiles, name_from, project_root
from vitreous.particles.particle_set import ParticleSet
from vitreous.particles.stack import open_images
from vitreous.runs.folder import JobFolder, OnEvent, ignore, job_folder
from vitreous.runs.options import deterministic, device_for, on_its_threads
from vitreous.runs.record import job_record, write_record


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


@dataclass(frozen=True)
class Work:
    """What remains to be done once the input is read and checked.

    Attributes
    ----------
    run : callable
        Writes into a job's folder.
    stacks : tuple of Path
        That images are read from.
    """

    run: Callable[[JobFolder], Subtracted]
    stacks: tuple[Path, ...]


def _check(config: SubtractConfig) -> None:
    check_options(config)
    for bad, what, option in (
        (not config.revert and config.map is None, "a map is needed", "--map"),
        (not config.revert and config.mask is None, "a mask of what is kept is needed", "--mask"),
    ):
        if bad:
            raise OptionError(what, where=option, hint="see vitreous subtract --help")


def _open(config: SubtractConfig) -> Work:
    assert config.map is not None and config.mask is not None
    table = read_particles(config.particles)
    array, pixel_size = read_map(config.map)
    volume, names = torch.from_numpy(array), (str(config.map), str(config.mask))
    map_grid(volume, pixel_size, table, names[0])
    mask = read_mask(config.mask, config.map, len(volume), pixel_size)
    device = device_for(config.device)
    part = Part(volume.to(device), mask.volume.to(device), pixel_size, *names)
    task = set_up(table, open_images(table), part, config)
    return Work(partial(_subtract, config, task, mask.warnings), table.stacks)


def _subtract(
    config: SubtractConfig, task: Task, warnings: tuple[str, ...], job: JobFolder
) -> Subtracted:
    found = begun(task, job.tell)
    warnings += found.warnings
    written = _written(found, job, config.out)
    write_particles(job.path / "particles.star", written, write=config.write)
    boxes = [group.box for group in found.table.optics]
    record = {
        **job_record("subtract", config),
        "input": {"particles": len(task.table), "box": task.part.box},
        "scales": found.scales.record,
        "centre": found.framing and found.framing.centre,
        "box": boxes[0] if len(set(boxes)) == 1 else boxes,
        "warnings": warnings,
    }
    write_record(job.path, record)
    return Subtracted(config.out / "particles.star", found.scales.of_group, warnings)


def _written(found: Subtraction, job: JobFolder, out: Path) -> ParticleSet:
    """Write the images, a stack for each grid, and give their table.

    It keeps the names of the images that these were made from; the new ones' names are those of
    the folder ``out``, as it will be when the job is done.
    """
    table, sizes = found.table, grids(found.table)
    numbers = [""] if len(sizes) == 1 else [str(n) for n in range(1, len(sizes) + 1)]
    stacks = [out / f"particles{number}.mrcs" for number in numbers]
    order = list(sizes)
    own = np.array([order.index(Grid(g.box, g.pixel_size)) for g in table.optics])[table.group]
    with ExitStack() as opened:
        writers = [
            opened.enter_context(
                stack_writer(job.path / stack.name, grid.box, count, grid.pixel_size)
            )
            for stack, (grid, count) in zip(stacks, sizes.items(), strict=True)
        ]
        done = 0
        for images in found.batches(job.tell):
            writers[own[done]].append(images)
            done += len(images)
    files = ImageFiles.of_stacks(tuple(stacks), own)
    before = image_names(table, out)
    root = project_root(table.required(ParticleSet.image_name, "give images"), table.files)
    now = files.named(*(name_from(out, stack, root) for stack in stacks))
    return replace(table.with_fields(original_image=before, image_name=now), files=files)


def _open_to_revert(config: SubtractConfig) -> Work:
    table, warnings = reverted(read_particles(config.particles, need_images=False))
    return Work(partial(_revert, config, table, warnings), table.stacks)


def _revert(
    config: SubtractConfig, table: ParticleSet, warnings: tuple[str, ...], job: JobFolder
) -> Subtracted:
    write_particles(job.path / "particles.star", table, write=config.write)
    record = {**job_record("subtract", config), "scales": [], "warnings": warnings}
    write_record(job.path, record)
    return Subtracted(config.out / "particles.star", {}, warnings)


@on_its_threads
@deterministic
def run_subtract(config: SubtractConfig, on_event: OnEvent = ignore) -> Subtracted:
    """Subtract a part of a map from particles, or give them their images back.

    Writes particles.star, result.json and, but for a reversion, particles.mrcs (particles1.mrcs and
    so on where optics groups differ in box or pixel size); nothing of them if anything fails.

    Raises
    ------
    VitreousError
        For files and options that cannot be used.
    """
    _check(config)
    work = (_open_to_revert if config.revert else _open)(config)
    with job_folder("subtract", config, on_event, work.stacks) as job:
        job.tell({"event": "start", "job": "subtract"})
        done = work.run(job)
        job.tell({"event": "done", "out": str(config.out)})
    return done
