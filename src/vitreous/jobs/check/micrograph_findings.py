"""Whether the particles lie on their micrographs where the table says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
from jaxtyping import Int

from vitreous.errors import InputError
from vitreous.io.mrc import StackFile, open_stack
from vitreous.jobs.check.finding import Finding, named
from vitreous.jobs.check.pick_findings import positions_of
from vitreous.particles.image_files import find_file
from vitreous.particles.micrographs import coordinate_pixels
from vitreous.particles.particle_set import ParticleSet
from vitreous.particles.stack import ImageSource
from vitreous.validate.particles.micrograph import MIRRORS, likeness_by_mirror

_SOUGHT, _MICROGRAPHS, _PICKS = 12, 3, 16
"""Micrographs looked for, those of them looked at, and particles on each."""

_ALIKE, _UNLIKE = 0.3, 0.1
"""Correlations with the micrograph in the right and in a wrong place."""


def _open_micrograph(name: str, table: ParticleSet) -> StackFile | None:
    path = find_file(name, table.path) if Path(name).suffix in (".mrc", ".mrcs") else None
    try:
        return None if path is None else open_stack(path)
    except InputError:
        return None  # not ours to judge: the particles do not need it


def _some_micrographs(table: ParticleSet) -> list[tuple[StackFile, Int[np.ndarray, " n"]]]:
    """Micrographs that are there, from all over the table, each with its particles' rows."""
    names = table.required(ParticleSet.micrograph, "give particles with their micrographs")
    frame = pl.DataFrame({"micrograph": names}).with_row_index("row")
    grouped = frame.group_by("micrograph", maintain_order=True).agg(pl.col("row"))
    found: list[tuple[StackFile, np.ndarray]] = []
    for name, rows in grouped.gather_every(-(-len(grouped) // _SOUGHT)).iter_rows():
        stack = _open_micrograph(name, table) if len(found) < _MICROGRAPHS else None
        if stack is not None:
            found.append((stack, np.array(rows, dtype=np.int64)))
    return found


def micrograph_findings(table: ParticleSet, source: ImageSource) -> Iterator[Finding]:
    """Compare particles with their micrographs, those that are there, at their coordinates."""
    positions = positions_of(table)
    if positions is None:
        return
    alike: dict[str, list[float]] = {name: [] for name in MIRRORS}
    beyond: list[int] = []
    opened, pixels = _some_micrographs(table), coordinate_pixels(table).sizes
    for stack, rows in opened:
        height, across = stack.shape[1:]
        inside = (positions[rows] >= 0) & (positions[rows] < (across, height))
        beyond += rows[~inside.all(axis=1)].tolist()
        some = rows[table.group[rows] == table.group[rows[0]]][:_PICKS]
        group = table.optics[int(table.group[rows[0]])]
        width = round(group.box * group.pixel_size / pixels[rows[0]] / 2) * 2
        found = likeness_by_mirror(
            source.read_unchecked(some), stack.read(np.array([0]))[0], positions[some], width
        )
        for mirror, values in found.items():
            alike[mirror] += values
    if beyond:
        yield Finding(
            "warning",
            "picks-off-micrograph",
            "Picks outside their micrograph",
            f"{len(beyond)} on {len(opened)} micrographs: {named(beyond, table.row_name)}.",
            "look whether the coordinates are in pixels of these micrographs",
        )
    yield from _mirror_finding(alike, len(opened))


def _mirror_finding(alike: dict[str, list[float]], looked: int) -> Iterator[Finding]:
    means = {name: float(np.mean(values)) for name, values in alike.items() if values}
    if "" not in means:
        return
    best = max(means, key=lambda name: means[name])
    if means[best] > _ALIKE and means[""] < _UNLIKE:
        yield Finding(
            "warning",
            "mirrored-coordinates",
            "Coordinates mirrored against the micrographs",
            f"On {looked} micrographs the images correlate {means[best]:.2f} with what lies at "
            f"their coordinates mirrored along {best}, and {means['']:.2f} with what lies at the "
            "coordinates themselves.",
            f"mirror the coordinates along {best} before they are used to extract again",
        )
