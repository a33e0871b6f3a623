"""Particles' blocks of a STAR file, every cell as it was; fields read from and written to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count, takewhile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from vitreous.io.star import StarBlock, write_star
from vitreous.particles.columns import as_cells, numbers, truths, whole_numbers
from vitreous.particles.fields import Field, Kind, Reals, Values
from vitreous.particles.optics import OpticsGroup
from vitreous.particles.relion.names import COLUMNS, CORRECTED, CTF_COLUMNS, OPTICS, Column
from vitreous.particles.relion.optics import block_with_optics, stated_pixel_sizes

_READERS: Mapping[Kind, Callable[[StarBlock, str, Path], Any]] = {
    "real": numbers,
    "whole": whole_numbers,
    "truth": truths,
    "text": lambda block, name, path: block.frame[name],
}


def _there_of(block: StarBlock, column: Column) -> list[str]:
    """Names that a column has in a block: of all classes, or its own, or none."""
    numbered = (column.name.format(number) for number in count(1))
    names = numbered if column.numbered else [column.name]
    return list(takewhile(lambda name: name in block.frame.columns, names))


@dataclass(frozen=True)
class RelionColumns:
    """Particles beside their optics groups: a particle's own column counts before its group's.

    Attributes
    ----------
    path : Path
        The STAR file.
    particles : StarBlock
    optics : StarBlock or None
        None for RELION 3.0 files.
    others : tuple of StarBlock
        Carried through.
    row : int array (particles,)
        Row of each particle's group in ``optics``; meaningless without it.
    pixel_sizes : array (particles,) or None
        Of the images, angstrom; without them no column in pixels is read.
    """

    path: Path
    particles: StarBlock
    optics: StarBlock | None
    others: tuple[StarBlock, ...]
    row: Int[np.ndarray, " n"]
    pixel_sizes: Float[np.ndarray, " n"] | None = None

    @property
    def blocks(self) -> list[StarBlock]:
        """The particles' block and, if there is one, the optics block."""
        return [self.particles] + ([] if self.optics is None else [self.optics])

    @property
    def names(self) -> list[str]:
        """The particles' columns."""
        return self.particles.frame.columns

    @property
    def frames(self) -> list[pl.DataFrame]:
        """All that particles are described by, as text."""
        return [block.frame for block in reversed(self.blocks)]

    @property
    def missing_ctf(self) -> list[str]:
        """Columns that the CTF is computed from and that neither block has."""
        present = {name for frame in self.frames for name in frame.columns}
        return [f"_{name}" for name in CTF_COLUMNS if name not in present]

    @property
    def has_optics(self) -> bool:
        """Whether values of optics groups can be written: not in RELION 3.0's layout."""
        return self.optics is not None

    def _there(self, field: Field[Any]) -> tuple[StarBlock, Column] | None:
        """The column that holds a field, and its block."""
        for column in COLUMNS[field]:
            if column.in_pixels and self.pixel_sizes is None:
                continue
            for block in self.blocks:
                if column.first in block.frame.columns:
                    return block, column
        return None

    def _target(self, field: Field[Any]) -> Column:
        """The column that a field is written to, in the layout that the file has."""
        return COLUMNS[field][0 if self.has_optics else -1]

    def _read_before(self, field: Field[Any], target: Column) -> set[str]:
        """Columns of the particles that a field would be read from before or beside a target."""
        columns = COLUMNS[field][: COLUMNS[field].index(target) + 1]
        return {name for column in columns for name in _there_of(self.particles, column)}

    def called(self, field: Field[Any]) -> str:
        """Name of a field's column, there or to be written."""
        there = self._there(field)
        return f"_{(COLUMNS[field][0] if there is None else there[1]).first}"

    def called_in_optics(self, name: str) -> str:
        """Name of the column of an attribute of :class:`OpticsGroup`."""
        return f"_{OPTICS[name][0]}"

    def pixel_sizes_stated(self) -> dict[str, Float[np.ndarray, " m"]]:
        """Pixel sizes, angstrom, by the columns that state them."""
        return {name: sizes for block in self.blocks for name, sizes in stated_pixel_sizes(block)}

    def has(self, field: Field[Any]) -> bool:
        """Whether either block has a field."""
        return self._there(field) is not None

    def read(self, field: Field[Values]) -> Values | None:
        """Values of a field in its unit; None if it is missing.

        Raises
        ------
        InputError
            Naming file, row and column of the first cell that holds none.
        """
        there = self._there(field)
        if there is None:
            return None
        block, column = there
        read = _READERS[field.kind]
        values: Any
        if column.numbered:
            several = [read(block, name, self.path) for name in _there_of(block, column)]
            values = np.stack(several, axis=1)
        else:
            values = read(block, column.name, self.path)
        values = values if block is self.particles else values[self.row]
        return values * self.pixel_sizes if column.in_pixels else values

    def numbers(self, name: str) -> Reals | None:
        """Numbers of a column of the particles by its own name; None if it is missing."""
        if name not in self.names:
            return None
        return numbers(self.particles, name, self.path)

    def joined(self) -> pl.DataFrame:
        """All columns, as text."""
        own = self.particles.frame
        if self.optics is None:
            return own
        others = [name for name in self.optics.frame.columns if name not in own.columns]
        return own.hstack(self.optics.frame.select(others)[self.row])

    def take(self, rows: Int[np.ndarray, " m"]) -> RelionColumns:
        """Some of the particles, in the order given."""
        return replace(
            self,
            particles=self.particles.with_frame(self.particles.frame[rows]),
            row=self.row[rows],
            pixel_sizes=None if self.pixel_sizes is None else self.pixel_sizes[rows],
        )

    def with_fields(self, values: Mapping[Field[Any], Any]) -> RelionColumns:
        """Columns with the values of some fields, numbers to six decimals.

        Other columns that these would be read from are left out.
        """
        cells: dict[str, pl.Series] = {}
        old: set[str] = set()
        for field, given in values.items():
            column = self._target(field)
            old |= self._read_before(field, column)
            scaled = given / self.pixel_sizes if column.in_pixels else given
            for number, one in enumerate(scaled.T if column.numbered else [scaled], 1):
                name = column.name.format(number)
                cells[name] = as_cells(name, one)
        frame = self.particles.frame.with_columns(**cells).drop(old - set(cells))
        return replace(self, particles=self.particles.with_frame(frame))

    def with_optics(
        self, groups: Mapping[int, OpticsGroup], group: Int[np.ndarray, " n"], names: Sequence[str]
    ) -> RelionColumns:
        """Columns with some attributes of optics groups, given by their index in ``group``.

        The box is written only where it stands already: images tell it, too.
        """
        (box,) = OPTICS["box"]
        if "box" in names and box in self.names:
            sizes = {place: str(one.box) for place, one in groups.items()}
            new = pl.Series(group).replace_strict(sizes, default=None, return_dtype=pl.String)
            cells = new.zip_with(new.is_not_null(), self.particles.frame[box])
            frame = self.particles.frame.with_columns(cells.alias(box))
            return replace(self, particles=self.particles.with_frame(frame))
        if self.optics is None:
            return self
        places, first = np.unique(group, return_index=True)
        rows = dict(zip(places.tolist(), self.row[first].tolist(), strict=True))
        refined = {rows[place]: one for place, one in groups.items() if place in rows}
        return replace(self, optics=block_with_optics(self.optics, refined, names))

    def with_corrections(self, *, flipped: bool, multiplied: bool) -> RelionColumns:
        """Columns that say of all images what was done about their CTF, in the optics block."""
        said = {CORRECTED["flip"]: flipped, CORRECTED["multiply"]: multiplied}
        true = [pl.lit("1").alias(name) for name, done in said.items() if done]
        *others, told = (b.with_frame(b.frame.drop(said, strict=False)) for b in self.blocks)
        told = told.with_frame(told.frame.with_columns(true))
        if self.optics is None:
            return replace(self, particles=told)
        return replace(self, particles=others[0], optics=told)

    def without(self, *fields: Field[Any]) -> RelionColumns:
        """All but the columns of some fields."""
        columns = (column for field in fields for column in COLUMNS[field])
        gone = {name for column in columns for name in _there_of(self.particles, column)}
        return replace(self, particles=self.particles.with_frame(self.particles.frame.drop(gone)))

    def write(self, path: Path) -> None:
        """Write the STAR file, the optics block first, whole or not at all."""
        optics = [] if self.optics is None else [self.optics]
        write_star(path, [*optics, *self.others, self.particles])
