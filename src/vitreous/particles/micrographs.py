"""Where particles lie on their micrographs: coordinates in pixels of their own optics group."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from vitreous.errors import InputError
from vitreous.io.mrc import read_header
from vitreous.particles.image_files import find_file, find_files
from vitreous.particles.particle_set import ParticleSet
from vitreous.particles.poses import (
    origin_fields,
    read_coordinates,
    read_origins,
    with_coordinates,
)

_SAME = 0.01
"""Relative difference of two pixel sizes that may be one, rounded."""


@dataclass(frozen=True)
class CoordinatePixels:
    """Pixel size of the coordinates of each particle.

    Attributes
    ----------
    sizes : array (particles,)
        Angstrom.
    sources : tuple of str
        Where they are from, in words.
    doubt : str or None
        Why they may be others: the table gives that of the movies alone, which may have been
        binned since.
    """

    sizes: Float[np.ndarray, " n"]
    sources: tuple[str, ...]
    doubt: str | None = None

    @property
    def words(self) -> str:
        """Sizes and where they are from, for a message."""
        sizes = [f"{size:g}" for size in np.unique(self.sizes)[:4]]
        listed = sizes[0] if len(sizes) == 1 else f"{', '.join(sizes[:-1])} and {sizes[-1]}"
        return f"coordinates in pixels of {listed} A, {', '.join(self.sources)}"


def _from_micrograph(table: ParticleSet, rows: np.ndarray) -> float | None:
    """Pixel size in the header of the first micrograph of some particles; None if it is away."""
    micrograph = table.micrograph
    if micrograph is None:
        return None
    name = micrograph[int(rows[0])]
    path = find_file(name, table.path) if name.endswith((".mrc", ".mrcs")) else None
    try:
        size = 0.0 if path is None else read_header(path).pixel_size[0]
    except InputError:
        return None  # not ours to judge: the particles do not need it
    return size if size > 0 else None


def coordinate_pixels(table: ParticleSet) -> CoordinatePixels:
    """Pixel size of each particle's coordinates, by its own row or its optics group's.

    ``micrograph_pixel_size`` is it; else the header of a micrograph of the group says it, if it is
    at hand; else it is that of the movies, which is in doubt unless it is the images' too, and
    without any it is the images' own.
    """
    stated = table.if_sound(ParticleSet.micrograph_pixel_size)
    movies = table.if_sound(ParticleSet.movie_pixel_size)
    sizes, sources = table.pixel_sizes, dict[str, None]()
    doubt, stated_by = None, table.called(ParticleSet.micrograph_pixel_size)
    for number in range(len(table.optics)):
        rows = np.flatnonzero(table.group == number)
        if not len(rows):
            continue
        if stated is not None and (stated[rows] > 0).all():
            sizes[rows], source = stated[rows], f"by {stated_by}"
        elif (header := _from_micrograph(table, rows)) is not None:
            sizes[rows], source = header, "by the micrographs' headers"
        elif movies is not None and (movies[rows] > 0).all():
            source = f"by {table.called(ParticleSet.movie_pixel_size)}"
            if (np.abs(movies[rows] / sizes[rows] - 1) > _SAME).any():
                doubt = (
                    f"{stated_by} is missing: the movies have {movies[rows[0]]:g} A/px and the "
                    f"images {sizes[rows[0]]:g}, and the movies may have been binned"
                )
            sizes[rows] = movies[rows]
        else:
            source = "as the images"
        sources[source] = None
    return CoordinatePixels(sizes, tuple(sources), doubt)


def micrograph_sides(table: ParticleSet) -> Int[np.ndarray, "n 2"] | None:
    """Width and height in pixels of each particle's micrograph; None where nothing tells them.

    The table tells them, or else the headers of the micrographs, if all are at hand.
    """
    width, height = table.micrograph_width, table.micrograph_height
    if width is not None and height is not None:
        return np.stack([width, height], axis=1)
    micrograph = table.micrograph
    if micrograph is None:
        return None
    names = micrograph.unique(maintain_order=True)
    if not names.str.contains(r"\.mrcs?$").all():
        return None
    sides = []
    for path in find_files(names, table.path):
        if path is None:
            return None
        sides.append(read_header(path).shape[:-3:-1])
    place = micrograph.replace_strict(names, range(len(names)), return_dtype=pl.Int64)
    return np.array(sides, np.int64)[place.to_numpy()]


def with_y_inverted(table: ParticleSet) -> ParticleSet:
    """Table with places counted from the other horizontal side of the micrographs.

    Raises
    ------
    InputError
        Without places, or where nothing tells the micrographs' height.
    """
    xy, sides = read_coordinates(table), micrograph_sides(table)
    if sides is None:
        raise InputError(
            "y cannot be inverted: the height of the micrographs is not known",
            where=table.path,
            hint="put the micrographs where the table says",
        )
    return table.with_fields(y=np.round(sides[:, 1] - xy[:, 1], 6))


def positions(table: ParticleSet, pixel_sizes: Float[np.ndarray, " n"]) -> Float[np.ndarray, "n 2"]:
    """Where the particles lie on their micrographs: coordinates less origins, angstrom.

    Parameters
    ----------
    table : ParticleSet
    pixel_sizes : array (particles,)
        Angstrom a pixel of the coordinates.
    """
    return read_coordinates(table) * pixel_sizes[:, None] - read_origins(table)


def origins_to_coordinates(table: ParticleSet, pixel_sizes: Float[np.ndarray, " n"]) -> ParticleSet:
    """Move the whole pixels of the origins into the coordinates, ready for extraction.

    Parameters
    ----------
    table : ParticleSet
    pixel_sizes : array (particles,)
        Angstrom a pixel of the coordinates.
    """
    origins, pixel = read_origins(table), pixel_sizes[:, None]
    whole = np.round(origins / pixel)
    moved = with_coordinates(table, read_coordinates(table) - whole)
    return moved.with_fields(**origin_fields(origins - whole * pixel))
