"""Some particles beside the map's projections at their poses, with their CTF."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int

from vitreous.errors import InputError
from vitreous.imaging.project import map_to_cube
from vitreous.io.mrc import read_map
from vitreous.jobs.particles.projections import Projector
from vitreous.math.fourier import resample_map, resample_values
from vitreous.particles.files import read_particles
from vitreous.particles.grid import Grid
from vitreous.particles.particle_set import ParticleSet
from vitreous.particles.poses import read_poses
from vitreous.particles.stack import open_images
from vitreous.report import figures, page
from vitreous.report.record import Record
from vitreous.report.report_page import Result

_RANKS = (0.02, 0.2, 0.4, 0.6, 0.8, 0.98)
"""Of the particles shown among all, from the one that fits the map best."""

_SHOWN = 96
"""Pixels of the pictures, and of the box that the map is projected in, at most."""

_READ = (
    "Above the particles, smoothed, from one that fits the map well to one that fits badly; below "
    "the map as the microscope would have shown it in their poses, with their CTF. The same shape "
    "should be made out in both, at least on the left."
)


@dataclass(frozen=True)
class Examples:
    """Particles and projections.

    Attributes
    ----------
    images, projections : arrays (particles, n, n)
    rows : int array (particles,)
        Of the table.
    pixel_size : float
        Angstrom.
    """

    images: Float[np.ndarray, "k n n"]
    projections: Float[np.ndarray, "k n n"]
    rows: Int[np.ndarray, " k"]
    pixel_size: float


def _chosen(table: ParticleSet, number: int | None) -> Int[np.ndarray, " k"]:
    """Rows of a class, from good to bad fits, of the optics group with the most particles."""
    group = np.bincount(table.group).argmax()
    member = table.group == group
    classes = None if number is None else table.if_sound(ParticleSet.class_number)
    if classes is not None:
        member &= classes == number
    rows = np.flatnonzero(member)
    if not len(rows):
        raise InputError(
            f"holds no particle of class {number}", where=table.path, hint="run the job again"
        )
    fit = table.if_sound(ParticleSet.log_likelihood)
    order = rows if fit is None else rows[np.argsort(-fit[rows], kind="stable")]
    places = np.unique([int(rank * (len(order) - 1)) for rank in _RANKS])
    return np.asarray(order[places])


def examples_of(folder: Path, result: Result, map_name: str, number: int | None) -> Examples:
    """Particles of a job, or of one of its classes, beside projections of its map.

    Raises
    ------
    InputError
        If the particles, their images or the map cannot be read.
    """
    table = read_particles(folder / "particles.star")
    source = open_images(table)
    volume, pixel_size = read_map(folder / map_name)
    rows, options = _chosen(table, number), result.get("options") or {}
    small = min(_SHOWN, len(volume))
    cube = map_to_cube(
        resample_map(torch.from_numpy(np.array(volume)), small)[None], small // 2 - 1
    )
    projector = Projector(
        table,
        read_poses(table),
        Grid(len(volume), pixel_size),
        bool(options.get("ctf", True)),
        bool(options.get("phase_flipped", False)),
    )
    projected, images = projector(cube, rows), torch.from_numpy(source.read(rows))
    box = images.shape[-1]
    shown = min(_SHOWN, box)
    width = table.optics[table.group[rows[0]]].pixel_size * box
    return Examples(
        resample_values(images, shown, 2).numpy(),
        resample_values(projected, shown, 2).numpy(),
        rows,
        width / shown,
    )


def examples_section(record: Record) -> str:
    """Section with particles of the largest class, or a word on why there are none."""
    entries = [entry for entry in record.classes if entry.get("map")]
    if not entries:
        return ""
    entry = max(entries, key=lambda one: one.get("particles") or 0)
    number = int(entry["class"]) if len(record.classes) > 1 else None
    title = "Particles beside projections of " + (
        "the map" if number is None else f"class {number}, the largest"
    )
    try:
        found = examples_of(record.folder, record.result, str(entry["map"]), number)
    except InputError as error:
        card = page.card(title, page.paragraph(f"Not shown: {error.line()}", "note"))
    else:
        alt = f"{len(found.rows)} particles above projections of the map in their poses"
        names = [f"row {row + 1:,}" for row in found.rows]
        picture = figures.particles_and_projections(
            found.images, found.projections, names, found.pixel_size, alt
        )
        card = page.card(title, page.figure(picture, _READ), wide=True)
    return page.section("Do the particles look like it?", page.cards([card]))
