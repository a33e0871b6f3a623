"""Which particles two tables share, by image or by place, and both tables as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
from jaxtyping import Bool, Float
from scipy.spatial import cKDTree

from vitreous.errors import InputError
from vitreous.particles.conversion import as_relion, settled
from vitreous.particles.cryosparc.columns import CryosparcColumns
from vitreous.particles.cryosparc.files import cryosparc_set
from vitreous.particles.groups import file_identity, original_images
from vitreous.particles.micrographs import positions
from vitreous.particles.particle_set import ParticleSet
from vitreous.particles.relion.columns import RelionColumns
from vitreous.particles.relion.files import relion_set
from vitreous.particles.relion.merged import merged_blocks

Match = Literal["image", "place"]

_PREFIX = r"^\d{15,}_"
"""What cryoSPARC puts before the names of files that it imported."""


@dataclass(frozen=True)
class Matching:
    """How particles of two tables are known to be the same.

    Attributes
    ----------
    by : {"image", "place"}
        The same image of the same file; or a place on the same micrograph, whatever its folder.
    distance : float
        Between places that are one, angstrom.
    pixel_size : float, optional
        Angstrom a pixel of the coordinates; otherwise as the tables say.
    """

    by: Match
    distance: float = 20.0
    pixel_size: float | None = None


def _images(table: ParticleSet) -> pl.DataFrame:
    """File and number of each particle's image, that of before a subtraction if it tells."""
    table = original_images(table)
    files = pl.Series([file_identity(stack) for stack in table.stacks], dtype=pl.String)
    return pl.DataFrame({"file": files.gather(table.stack_of), "index": table.index_in_stack})


def micrograph_names(table: ParticleSet) -> pl.Series:
    """Names of the micrographs without folders, endings and cryoSPARC's numbers before them."""
    names = table.required(ParticleSet.micrograph, "match by image, or give their micrographs")
    bare = names.str.split("/").list.last().str.replace(_PREFIX, "")
    return bare.str.replace(r"\.[^.]*$", "")


def _near(
    table: ParticleSet,
    other: ParticleSet,
    sizes: Sequence[Float[np.ndarray, " k"]],
    distance: float,
) -> Bool[np.ndarray, " n"]:
    """Which particles lie within a distance of one of another table, on the same micrograph."""
    names = pl.concat([micrograph_names(table), micrograph_names(other)])
    codes = names.rank("dense").to_numpy().astype(np.float64)
    places = [positions(one, size) for one, size in zip((table, other), sizes, strict=True)]
    together = np.concatenate(places)
    apart = 4 * (float(np.ptp(together, axis=0).max()) + distance + 1)
    points = np.column_stack([together, codes * apart])  # micrographs lie apart along a third axis
    found, _ = cKDTree(points[len(table) :]).query(
        points[: len(table)], distance_upper_bound=np.nextafter(distance, np.inf)
    )
    return np.isfinite(found)


def shared(
    table: ParticleSet,
    other: ParticleSet,
    matching: Matching,
    sizes: Sequence[Float[np.ndarray, " k"]] = (),
) -> Bool[np.ndarray, " n"]:
    """Which particles of a table are in another one, too.

    Parameters
    ----------
    table, other : ParticleSet
    matching : Matching
    sizes : arrays
        Pixel sizes of the coordinates in both tables, angstrom; needed to match places.

    Raises
    ------
    InputError
        Without the columns that it takes.
    """
    if matching.by == "place":
        return _near(table, other, sizes, matching.distance)
    mine, theirs = _images(table), _images(other).unique().with_columns(there=pl.lit(True))
    joined = mine.join(theirs, on=["file", "index"], how="left", maintain_order="left")
    return joined["there"].fill_null(False).to_numpy()


def _star_columns(particles: ParticleSet, path: Path) -> RelionColumns:
    columns = as_relion(particles, path).written
    assert isinstance(columns, RelionColumns)
    return columns


def _joined_cryosparc(
    table: ParticleSet, other: ParticleSet, path: Path
) -> tuple[ParticleSet, list[str]]:
    """Both tables' rows, in the columns that they share."""
    assert isinstance(table.carried, CryosparcColumns)
    assert isinstance(other.carried, CryosparcColumns)
    mine, theirs = table.carried.columns, other.carried.columns
    same = [n for n in mine if n in theirs and mine[n].shape[1:] == theirs[n].shape[1:]]
    columns = {name: np.concatenate([mine[name], theirs[name]]) for name in same}
    twice = len(columns["uid"]) - len(np.unique(columns["uid"]))
    if twice:
        raise InputError(
            f"has {twice:,} uids of {table.path}, for other images or places",
            where=other.path,
            hint="join them as STAR files: vitreous convert makes these",
        )
    left_out = [name for name in (*mine, *theirs) if name not in same]
    return cryosparc_set(columns, path, need_images=False), list(dict.fromkeys(left_out))


def joined(table: ParticleSet, other: ParticleSet, path: Path) -> tuple[ParticleSet, list[str]]:
    """Particles of two tables in one, and the columns that only one of them has: left out.

    Parameters
    ----------
    table, other : ParticleSet
        Names of their images must lead to them from ``path``.
    path : Path
        Of the table that is to be.

    Raises
    ------
    InputError
        For tables of RELION's two layouts.
    """
    if isinstance(table.carried, CryosparcColumns) and isinstance(other.carried, CryosparcColumns):
        return _joined_cryosparc(settled(table), settled(other), path)
    first, second = (_star_columns(one, path) for one in (table, other))
    if first.has_optics != second.has_optics:
        raise InputError(
            f"has another layout than {table.path}: one has optics groups, the other has none",
            where=other.path,
            hint="bring both to one layout with vitreous convert --layout 3.1",
        )
    blocks, left_out = merged_blocks(first, second)
    return relion_set(blocks, path, need_images=False), left_out
