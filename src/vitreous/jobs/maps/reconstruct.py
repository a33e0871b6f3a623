"""Reconstruction from the poses in a STAR file."""

from __future__ import annotations

import math
import shutil
import time
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from vitreous.config.maps import ReconstructConfig
from vitreous.engine.free_memory import free_memory
from vitreous.engine.shards import Shards, ShardSums
from vitreous.errors import InputError, OptionError
from vitreous.imaging.project import cube_side
from vitreous.io.atomic import move
from vitreous.io.fsc_xml import write_fsc_xml
from vitreous.io.mrc import write_map
from vitreous.jobs.maps.axes import axes_warnings
from vitreous.jobs.maps.curvature import check_curvature, mean_fsc, sphere_told, trials
from vitreous.jobs.maps.half_maps import HalfMaps, open_half_maps
from vitreous.jobs.maps.posed_particles import PosedParticles, choose_particles, posed_batches
from vitreous.jobs.maps.postprocess import curve_warnings, resolutions
from vitreous.math.group_names import normalise_name
from vitreous.math.symmetry import lattice_cosets, point_group
from vitreous.particles.files import read_particles
from vitreous.particles.stack import ImageSource, open_images
from vitreous.reconstruct.accumulator import Accumulator, empty_accumulator, symmetrised
from vitreous.reconstruct.backproject import MapGrid, insert_images, map_grid
from vitreous.reconstruct.ewald import Curvature
from vitreous.reconstruct.solve import least_squares_maps
from vitreous.runs.folder import JobFolder, OnEvent, ignore, job_folder
from vitreous.runs.options import deterministic, device_for, on_its_threads
from vitreous.runs.record import job_record, write_record
from vitreous.validate.fsc import shell_frequency

_LEAST_SHELLS = 4
"""Shells that a map must have."""

_PADDINGS = (2, 3, 4)
"""Without padding, sharing among neighbours would weaken the map towards the edge of its box."""

LIBRARIES = 1.5e9
"""Bytes of Python, what it loads, and the images at hand."""

_XML_TITLE = "Masked FSC corrected by phase randomisation"


def _check(config: ReconstructConfig) -> None:
    if config.padding not in _PADDINGS:
        raise OptionError(
            f"{config.padding}, expected {', '.join(map(str, _PADDINGS))}",
            where="--padding",
            hint="leave it at 2",
        )
    for value, where in (
        (config.resolution_limit, "--resolution-limit"),
        (config.mask_diameter, "--mask-diameter"),
    ):
        if value is not None and not (math.isfinite(value) and value > 0):
            raise OptionError(
                f"{value:g}, expected more than 0", where=where, hint="give angstroms"
            )
    check_curvature(config)


def _grid(particles: PosedParticles, config: ReconstructConfig) -> MapGrid:
    """The same that a search of these particles has."""
    grid = map_grid(particles.grid.box, particles.grid.pixel_size, config.resolution_limit)
    if grid.radius < _LEAST_SHELLS:
        raise OptionError(
            f"{config.resolution_limit:g} A leaves fewer than {_LEAST_SHELLS} shells of a box "
            f"{grid.width:g} A wide",
            where="--resolution-limit",
            hint=f"give at most {grid.width / _LEAST_SHELLS:g}",
        )
    for diameter, where in (
        (config.mask_diameter, "--mask-diameter"),
        (config.ewald_diameter, "--ewald-diameter"),
    ):
        if diameter is not None and diameter > grid.width:
            raise OptionError(
                f"a sphere of {diameter:g} A does not fit the box of {grid.width:g} A",
                where=where,
                hint=f"give a diameter of at most {grid.width:g}",
            )
    return grid


def needed_memory(
    grid: MapGrid, maps: int, padding: int, *, symmetric: bool, sums_at_once: int = 1
) -> float:
    """Bytes that a reconstruction takes at its fullest: as it adds, symmetrises or solves."""
    side = cube_side(grid.radius, padding)
    half = side // 2 + 1
    cube = 12.0 * side**2 * half
    solving = 8.0 * (2 * grid.box * side * half + 2 * grid.box**2 * half + grid.box**3)
    adding = (sums_at_once - 1) * maps * cube
    return LIBRARIES + maps * cube + max(adding, solving, cube * symmetric)


def check_memory(
    needed: float, config: ReconstructConfig, device: torch.device
) -> dict[str, float | None]:
    """Require the job to fit on its device; for the log, the gigabytes."""
    free = free_memory(device)
    in_gb = {
        "needed_GB": round(needed / 1e9, 1),
        "free_GB": None if free is None else round(free / 1e9, 1),
    }
    if free is not None and needed > free:
        raise OptionError(
            f"needs {in_gb['needed_GB']} GB of memory, {in_gb['free_GB']} GB are free",
            where=config.particles,
            hint="give a coarser --resolution-limit, or --subset 1 and 2 one after the other",
        )
    return in_gb


def _halves_compared(folder: Path, config: ReconstructConfig, grid: MapGrid) -> HalfMaps:
    """The half-maps written, with a mask; that of the box where none can be made."""
    halves = (folder / "half1.mrc", folder / "half2.mrc")
    try:
        return open_half_maps(*halves, mask_diameter=config.mask_diameter)
    except InputError as error:
        whole = open_half_maps(*halves, mask_diameter=grid.width)
        warning = f"The halves were compared in the whole box: the first {error.what}."
        return replace(whole, mask=replace(whole.mask, warnings=(warning,)))


def _judged(
    folder: Path, halves: HalfMaps, config: ReconstructConfig, grid: MapGrid
) -> dict[str, Any]:
    """Entries of ``result.json`` on the halves in a folder; writes their FSC."""
    curves = halves.curves(config.seed)
    frequency = shell_frequency(grid.box, grid.pixel_size)
    write_fsc_xml(folder / "fsc.xml", frequency, curves.corrected, _XML_TITLE)
    return {
        "mask": halves.record()["mask"],
        "mean_fsc": mean_fsc(curves.corrected[: int(grid.radius) + 1]),
        **resolutions(curves, grid.box, grid.pixel_size),
        "fsc": {"frequency": frequency, **asdict(curves)},
        "warnings": [*halves.mask.warnings, *curve_warnings(curves, halves)],
    }


def _all_judged(
    folders: dict[str, Path], config: ReconstructConfig, grid: MapGrid
) -> dict[str, dict[str, Any]]:
    """The same of every trial, all within the mask of the first."""
    device = device_for(config.device)
    halves = {
        name: _halves_compared(folder, config, grid).to(device) for name, folder in folders.items()
    }
    mask = next(iter(halves.values())).mask
    return {
        name: _judged(folders[name], replace(own, mask=mask), config, grid)
        for name, own in halves.items()
    }


def _kept(folders: dict[str, Path], name: str, out: Path) -> None:
    """Bring one trial's files up into the job's folder and drop the other trials."""
    for folder in folders.values():
        if folder == out:
            continue
        if folder == folders[name]:
            for path in folder.iterdir():
                move(path, out / path.name)
        shutil.rmtree(folder)


def _solve(sums: Accumulator, grid: MapGrid, out: Path, on_event: OnEvent) -> None:
    """Write the maps of the halves, if there are any, and of the whole."""
    names = ["map"] if len(sums.weight) == 1 else ["half1", "half2", "map"]
    for number, name in enumerate(names):
        event = {"event": "progress", "stage": "solving", "iteration": number, "of": len(names)}
        on_event(event)
        if number == len(sums.weight):
            sums.at(0).add(sums.at(1))
        own = sums.at(number % len(sums.weight))
        volume = least_squares_maps(own, grid.box, grid.radius)[0]
        write_map(out / f"{name}.mrc", volume.cpu().numpy(), grid.pixel_size)
    on_event({**event, "iteration": len(names)})


def _summed(
    particles: PosedParticles,
    source: ImageSource,
    config: ReconstructConfig,
    grid: MapGrid,
    curvature: Curvature | None,
    device: torch.device,
    on_event: OnEvent,
) -> Accumulator:
    """Sums of all images, shared out among the ranks."""
    shards, count, done = Shards.of(len(particles.rows)), len(particles.rows), 0
    lattice, cosets = lattice_cosets(point_group(config.symmetry))
    empty = partial(empty_accumulator, particles.maps, grid.radius, config.padding, device)
    sums = ShardSums(shards, empty)
    own = len(shards.own_rows)
    for shard, places in shards.members(torch.arange(count)):
        for batch in posed_batches(particles, source, config, device, places.numpy()):
            insert_images(batch, grid, sums.of(shard), cosets, curvature)
            done += len(batch.images)
            on_event({"event": "progress", "stage": "inserting", "iteration": done, "of": own})
    whole = sums.total()
    whole.complete()
    return symmetrised(whole, lattice)


def _made(
    particles: PosedParticles,
    source: ImageSource,
    config: ReconstructConfig,
    grid: MapGrid,
    device: torch.device,
    job: JobFolder,
) -> dict[str, Any]:
    """Write the maps; entries of ``result.json`` on them."""
    ways = trials(config, grid)
    folders = {name: job.path / (name if len(ways) > 1 else "") for name in ways}
    for name, way in ways.items():
        sums = _summed(particles, source, config, grid, way, device, job.tell)
        folders[name].mkdir(exist_ok=True)
        _solve(sums, grid, folders[name], job.tell)
    by_trial = {} if particles.half is None else _all_judged(folders, config, grid)
    best = max(ways, key=lambda name: by_trial[name]["mean_fsc"] if by_trial else 0.0)
    _kept(folders, best, job.path)
    judged = by_trial.get(best, {"warnings": []})
    sphere, doubts = sphere_told(ways[best], particles.optics, by_trial, grid)
    if sphere is not None:
        job.tell({"event": "ewald", **sphere})
    return {**judged, "ewald": sphere, "warnings": [*judged["warnings"], *doubts]}


@dataclass(frozen=True)
class Begun:
    """All that a reconstruction begins with.

    Attributes
    ----------
    particles : PosedParticles
    source : ImageSource
    grid : MapGrid
    device : torch.device
    needed : float
        Bytes at its fullest.
    """

    particles: PosedParticles
    source: ImageSource
    grid: MapGrid
    device: torch.device
    needed: float


def begin(config: ReconstructConfig) -> Begun:
    """Read and check everything but the memory; nothing is written.

    Raises
    ------
    VitreousError
        For files, columns or options that cannot be used.
    """
    _check(config)
    device = device_for(config.device)
    symmetry = normalise_name(config.symmetry)
    table = read_particles(config.particles)
    particles = choose_particles(config, table)
    source = open_images(table)
    grid = _grid(particles, config)
    needed = needed_memory(
        grid,
        particles.maps,
        config.padding,
        symmetric=symmetry != "C1",
        sums_at_once=Shards.of(len(particles.rows), config.ranks).sums_at_once,
    )
    return Begun(particles, source, grid, device, needed)


@on_its_threads
@deterministic
def run_reconstruct(config: ReconstructConfig, on_event: OnEvent = ignore) -> Path:
    """Map of particles at their poses, and maps of their halves with the FSC between them.

    Returns
    -------
    Path of the folder, with map.mrc, half1.mrc, half2.mrc, fsc.xml and result.json.

    Raises
    ------
    VitreousError
        For files, columns, options or a folder that cannot be used, and for want of memory.
    """
    began = time.monotonic()
    begun = begin(config)
    particles, source, grid, device = begun.particles, begun.source, begun.grid, begun.device
    memory = check_memory(begun.needed, config, device)
    with job_folder("reconstruct", config, on_event, particles.table.stacks) as job:
        job.tell({"event": "start", "job": "reconstruct", "particles": len(particles.rows)})
        job.tell({"event": "memory", **memory})
        doubts = axes_warnings(particles, source, config, grid, device, job.tell)
        made = _made(particles, source, config, grid, device, job)
        result: dict[str, Any] = {
            **job_record("reconstruct", config),
            "seed": config.seed,
            "symmetry": normalise_name(config.symmetry),
            "input": {
                "box": grid.box,
                "pixel_size": grid.pixel_size,
                "optics_groups": len(particles.optics),
            },
            "n_particles": len(particles.rows),
            "n_by_map": particles.counts,
            "halves": particles.halves_record,
            "resolution_limit": grid.width / grid.radius,
            **made,
            "warnings": [*particles.warnings, *doubts, *made["warnings"]],
            "timings": {"total_s": round(time.monotonic() - began, 3)},
        }
        write_record(job.path, result)
        job.tell({"event": "done", "out": str(config.out)})
    return config.out
