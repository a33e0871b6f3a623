"""Particles put into halves and folds by the images they show, and micrographs into groups."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from jaxtyping import Float, Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from vitreous.errors import InputError
from vitreous.particles.particle_set import ParticleSet
from vitreous.particles.selection import codes, random_subsets

Unit = Literal["random", "micrograph", "filament"]
"""How halves are dealt out: images at random, or all of a micrograph or filament together."""

_FIELDS = {"micrograph": ParticleSet.micrograph, "filament": ParticleSet.filament}


@dataclass(frozen=True)
class Halves:
    """Half of each particle, and where the halves came from.

    Attributes
    ----------
    half : int64 array (particles,)
        1 or 2.
    dealt : bool
        Whether they were dealt here, rather than read with the particles.
    images_in_both : int
        Images that particles of both halves show.
    warnings : tuple of str
    column : str
        That they were read from.
    """

    half: Int[np.ndarray, " n"]
    dealt: bool
    images_in_both: int = 0
    warnings: tuple[str, ...] = ()
    column: str = ""

    def record(self, *, independent: bool) -> dict[str, Any]:
        """Entries of ``result.json``; ``independent`` if the poses were found in these halves."""
        return {
            "source": "dealt by image" if self.dealt else self.column,
            "images_in_both": self.images_in_both,
            "independent": independent and not self.images_in_both,
        }


@dataclass(frozen=True)
class Grouping:
    """Groups of micrographs.

    Attributes
    ----------
    group : int64 array (particles,)
        From 0.
    sizes : int64 array (groups,)
        Particles of each.
    """

    group: Int[np.ndarray, " n"]
    sizes: Int[np.ndarray, " g"]


def file_identity(path: Path) -> str:
    """The same for all paths to one file."""
    try:
        found = path.stat()
    except OSError:
        return str(path.resolve())
    return f"{found.st_dev}:{found.st_ino}"


def original_images(table: ParticleSet) -> ParticleSet:
    """Table with the images of before a subtraction, where it tells them."""
    before, now = table.original_image, table.image_name
    if before is None or now is None:
        return table
    known = before.str.contains("@").fill_null(False)  # joined tables may lack some
    return table.with_images(before.zip_with(known, now.cast(pl.String)), need_images=False)


def image_numbers(table: ParticleSet) -> Int[np.ndarray, " n"]:
    """Number, from 0, of the image that each particle shows.

    Particles show one image if their names lead to one place in one file, however written. After
    a subtraction it is the image before it, whose noise is still there.
    """
    table = original_images(table)
    _, file = np.unique([file_identity(stack) for stack in table.stacks], return_inverse=True)
    index = table.index_in_stack.astype(np.int64)
    place = file[table.stack_of] * (int(index.max()) + 1) + index
    return np.unique(place, return_inverse=True)[1]


def turns(order: Int[np.ndarray, " m"], image: Int[np.ndarray, " n"]) -> Int[np.ndarray, " m"]:
    """When, from 0, the image of each particle of an order comes up first, counted in images."""
    _, first, local = np.unique(image[order], return_index=True, return_inverse=True)
    turn: Int[np.ndarray, " m"] = first.argsort().argsort()[local]
    return turn


def folds(
    order: Int[np.ndarray, " m"], image: Int[np.ndarray, " n"], number: int
) -> list[Int[np.ndarray, " f"]]:
    """Particles dealt out into folds in an order; those that show one image stay together."""
    turn = turns(order, image) % number
    return [order[turn == fold] for fold in range(number)]


def held_out(
    order: Int[np.ndarray, " n"], image: Int[np.ndarray, " n"], wanted: int
) -> tuple[Int[np.ndarray, " h"], Int[np.ndarray, " r"]]:
    """Some ``wanted`` particles, the first in an order, and those that show none of their images.

    Both are sorted. Of the images as many are held out as have no more than ``wanted`` particles.
    """
    turn = turns(order, image)
    held = int((np.cumsum(np.bincount(turn)) <= wanted).sum())
    return np.sort(order[turn < held]), np.sort(order[turn >= held])


def halves(unit: Int[np.ndarray, " n"], seed: int) -> Int[np.ndarray, " n"]:
    """Random half, 1 or 2, of each particle; those of one unit stay together.

    Units are dealt out in random order, each to the half that is smaller so far.

    Parameters
    ----------
    unit : int array (particles,)
        From 0: the image, so that no half sees the other's noise, or the micrograph.
    """
    sizes = np.bincount(unit)
    half = np.zeros(len(sizes), dtype=np.int64)
    lead = 0  # particles that the first half has more than the second
    for one in np.random.default_rng(seed).permutation(len(sizes)).tolist():
        second = lead > 0
        half[one] = 1 + second
        lead += -int(sizes[one]) if second else int(sizes[one])
    return half[unit]


def _whole(a: Int[np.ndarray, " n"], b: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """Units that split up neither those of ``a`` nor those of ``b``."""
    nodes = int(a.max()) + int(b.max()) + 2
    links = coo_array((np.ones(len(a)), (a, int(a.max()) + 1 + b)), shape=(nodes, nodes))
    return np.unique(connected_components(links, directed=False)[1][a], return_inverse=True)[1]


def units(table: ParticleSet, unit: Unit) -> Int[np.ndarray, " n"]:
    """Number, from 0, of what each particle is dealt out with.

    Raises
    ------
    InputError
        Without the column that tells micrographs or filaments.
    """
    image = image_numbers(table)
    if unit == "random":
        return image
    for field in (_FIELDS[unit], _FIELDS["micrograph"]):
        if not table.has(field):
            raise InputError(
                f"no column {table.called(field)} to keep each {unit} in one half by",
                where=table.path,
                hint="deal out the particles one by one",
            )
    apart = codes(table, _FIELDS["micrograph"])
    if unit == "filament":  # tubes are numbered anew in every micrograph
        tube = codes(table, _FIELDS["filament"])
        apart = np.unique(apart * (int(tube.max()) + 1) + tube, return_inverse=True)[1]
    return _whole(apart, image)


def dealt_halves(table: ParticleSet, unit: Unit, seed: int) -> Halves:
    """Halves dealt out at random, no image in both.

    Raises
    ------
    InputError
        As :func:`units`, and if all particles are of one unit.
    """
    unit_of = units(table, unit)
    if int(unit_of.max()) == 0:
        what = "image" if unit == "random" else unit
        raise InputError(
            f"all particles are of one {what}, which makes no two halves",
            where=table.path,
            hint="give more particles, or deal out the particles one by one",
        )
    return Halves(halves(unit_of, seed), True)


def given_halves(table: ParticleSet, hint: str) -> Halves:
    """Halves that the particles have.

    Parameters
    ----------
    table : ParticleSet
    hint : str
        What to do without them.

    Raises
    ------
    InputError
        Without the column, and for other numbers than 1 and 2, naming the first row.
    """
    half, image = random_subsets(table, hint), image_numbers(table)
    both = np.bincount(image[half == 1], minlength=image.max() + 1) > 0
    shared = int(both[np.unique(image[half == 2])].sum())
    column = table.called(ParticleSet.half)
    warnings = tuple(_shared(shared, int(image.max()) + 1, column))
    return Halves(half, False, shared, warnings, column.removeprefix("_"))


def _shared(both: int, images_there: int, column: str) -> Iterator[str]:
    if both:
        yield (
            f"{both:,} of {images_there:,} images are in both halves ({column}), which then share "
            "their noise: the FSC between them and the resolution are too good. Deal the particles "
            "anew, by image, with vitreous select --halves, and refine them again."
        )


def given_or_dealt(table: ParticleSet, unit: Unit, seed: int) -> Halves:
    """Halves that the particles have, or dealt out where they have none or only one of them.

    Raises
    ------
    InputError
        As :func:`given_halves` and :func:`dealt_halves`.
    """
    given, column = table.half, table.called(ParticleSet.half)
    if given is None:
        return dealt_halves(table, unit, seed)
    there = np.unique(given)
    if len(there) > 1 or there[0] not in (0, 1, 2):
        return given_halves(table, f"remove the column {column} to have halves dealt")
    found = dealt_halves(table, unit, seed)
    if there[0] == 0:  # as RELION writes it before it deals halves
        return found
    warning = (
        f"All {len(table):,} particles have {there[0]:g} in the column {column}, as those of one "
        "half have: they were dealt into two halves anew. If you meant to refine all particles, "
        "give the table with both halves."
    )
    return Halves(found.half, True, 0, (warning,))


def regrouped(
    micrograph: Int[np.ndarray, " n"],
    apart: Int[np.ndarray, " n"],
    likeness: Float[np.ndarray, " n"],
    least: int,
) -> Grouping:
    """Put micrographs that are alike into groups of at least ``least`` particles.

    Micrographs are ordered by their mean ``likeness`` and gathered until there are enough
    particles; what is left at the end joins the last group.

    Parameters
    ----------
    micrograph : int array (particles,)
        From 0.
    apart : int array (particles,)
        Optics groups, from 0: no group spans two; one that has fewer particles stays small.
    likeness : array (particles,)
        What micrographs of a group should have alike, such as the scale of their intensities.
    least : int
    """
    group = np.empty(len(micrograph), dtype=np.int64)
    first = 0
    for one in np.unique(apart):
        rows = np.flatnonzero(apart == one)
        _, local = np.unique(micrograph[rows], return_inverse=True)
        sizes = np.bincount(local)
        order = np.argsort(np.bincount(local, likeness[rows]) / sizes, kind="stable")
        gathered = np.empty(len(sizes), dtype=np.int64)
        gathered[order] = _gathered(sizes[order], least)
        group[rows] = first + gathered[local]
        first += int(gathered.max()) + 1
    return Grouping(group, np.bincount(group))


def _gathered(sizes: Int[np.ndarray, " m"], least: int) -> Int[np.ndarray, " m"]:
    """Number of the group, from 0, of micrographs of these sizes, in order."""
    group = np.zeros(len(sizes), dtype=np.int64)
    current = filled = 0
    for place, size in enumerate(sizes.tolist()):
        group[place] = current
        filled += size
        if filled >= least:
            current, filled = current + 1, 0
    # A last group that never filled up belongs to the one before it.
    return np.minimum(group, max(current - 1, 0))
