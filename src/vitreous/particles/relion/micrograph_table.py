"""Tables of micrographs: STAR files of RELION 3.0, 3.1 or 5, as their jobs and ours leave them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
from jaxtyping import Bool, Float, Int

from vitreous.errors import InputError
from vitreous.io.star import StarBlock, read_star, write_star
from vitreous.particles.columns import numbers, whole_numbers
from vitreous.particles.image_files import ImageFiles, names_in, read_image_files
from vitreous.particles.optics import OpticsGroup
from vitreous.particles.relion.names import NAME, OPTICS, VERDICT
from vitreous.particles.relion.optics import optics_cells, optics_from_block, optics_from_rows

_BLOCKS = ("micrographs", "")
"""Names of the block of micrographs, the first there counts."""

(_BOX,), (_NUMBER,) = OPTICS["box"], OPTICS["number"]


@dataclass(frozen=True)
class MicrographTable:
    """Micrographs, each in an optics group, beside all columns of their file.

    Attributes
    ----------
    path : Path
        The file.
    rows : StarBlock
        One row for each micrograph, every cell as it was.
    optics_block : StarBlock or None
        None for RELION 3.0 files.
    others : tuple of StarBlock
        Carried through.
    files : ImageFiles
        Where the micrographs are; those that are not there keep their names.
    optics : tuple of OpticsGroup
        With the micrographs' pixel size, and a box of 0.
    group : int array (micrographs,)
        Index into ``optics``.
    """

    path: Path
    rows: StarBlock
    optics_block: StarBlock | None
    others: tuple[StarBlock, ...]
    files: ImageFiles
    optics: tuple[OpticsGroup, ...]
    group: Int[np.ndarray, " n"]

    def __len__(self) -> int:
        """Return the number of micrographs."""
        return len(self.rows.frame)

    @property
    def names(self) -> list[str]:
        """As the file has them."""
        return self.rows.frame[NAME].to_list()

    @property
    def images(self) -> list[Path]:
        """File of each micrograph."""
        return [self.files.stacks[number] for number in self.files.stack_of]

    @property
    def optics_frame(self) -> pl.DataFrame:
        """Cells of the optics groups, in the order of ``optics``."""
        if self.optics_block is None:
            told = ("name", "number", *("voltage", "cs", "amplitude_contrast"))
            size = OPTICS["pixel_size"][-1]
            return pl.DataFrame(
                [optics_cells(g, told) | {size: f"{g.pixel_size:.6f}"} for g in self.optics]
            )
        frame = self.optics_block.frame
        if _NUMBER not in frame.columns:
            return frame.head(1).with_columns(pl.lit("1").alias(_NUMBER))
        known = whole_numbers(self.optics_block, _NUMBER, self.path).tolist()
        return frame[[known.index(group.number) for group in self.optics]]

    def optics_of(self, row: int) -> OpticsGroup:
        """Optics group of a micrograph."""
        return self.optics[self.group[row]]

    def has(self, *columns: str) -> bool:
        """Whether the file has all of these columns."""
        return all(column in self.rows.frame.columns for column in columns)

    @property
    def rejected(self) -> Bool[np.ndarray, " n"]:
        """Which micrographs vitreous ctf rejected; none where the file has no verdicts."""
        if not self.has(VERDICT):
            return np.zeros(len(self), dtype=bool)
        return np.array(self.rows.frame[VERDICT] == "reject")

    def numbers(self, column: str) -> Float[np.ndarray, " n"] | None:
        """Numbers of a column; None if it is missing.

        Raises
        ------
        InputError
            For a cell that holds none.
        """
        return numbers(self.rows, column, self.path) if self.has(column) else None

    def take(self, rows: Int[np.ndarray, " m"]) -> MicrographTable:
        """Some of the micrographs, in the order given."""
        return replace(
            self,
            rows=self.rows.with_frame(self.rows.frame[rows]),
            files=self.files.take(rows),
            group=self.group[rows],
        )

    def with_columns(self, columns: Mapping[str, Iterable[str]]) -> MicrographTable:
        """Table with these cells, in new columns or in the place of old ones."""
        cells = [pl.Series(name, list(values), dtype=pl.String) for name, values in columns.items()]
        return replace(self, rows=self.rows.with_frame(self.rows.frame.with_columns(cells)))

    def without(self, *columns: str) -> MicrographTable:
        """Table without some columns, whether they are there or not."""
        return replace(self, rows=self.rows.with_frame(self.rows.frame.drop(columns, strict=False)))

    def write(self, path: Path) -> None:
        """Write micrographs that are found from their new place, here and by RELION."""
        names = names_in(path.parent, self.rows.frame[NAME], self.files)
        rows = self.rows.with_frame(self.rows.frame.with_columns(names.alias(NAME)))
        optics = [] if self.optics_block is None else [self.optics_block]
        write_star(path, [*optics, *self.others, rows])


def _block_of_micrographs(blocks: Mapping[str, StarBlock], path: Path) -> StarBlock:
    having = {b.name.casefold(): b for b in blocks.values() if NAME in b.frame.columns}
    block = next((having[name] for name in _BLOCKS if name in having), None)
    if block is None:
        found = ", ".join(f"data_{name}" for name in blocks)
        raise InputError(
            f"no micrographs: no block data_micrographs with a column _{NAME} (found {found})",
            where=path,
            hint="give the STAR file of vitreous import, motion or ctf, or of RELION's job",
        )
    if not len(block.frame):
        raise InputError("zero micrographs", where=path, hint="give a table with rows in it")
    return block


def _boxless(block: StarBlock) -> StarBlock:
    """The block with a box, which micrographs have none of, so that no image is asked for it."""
    return block.with_frame(block.frame.with_columns(pl.lit("1").alias(_BOX)))


def read_micrographs(path: Path | str) -> MicrographTable:
    """Read a STAR file of micrographs; their files need not be there.

    Raises
    ------
    InputError
        For a table without micrographs, one twice, optics groups that are unknown or cannot be
        used, and a pixel size that neither the table nor the micrographs tell.
    """
    path = Path(path)
    blocks = read_star(path)
    block = _block_of_micrographs(blocks, path)
    names = block.frame[NAME]
    if names.is_duplicated().any():
        row = int(names.is_duplicated().arg_max() or 0)
        raise InputError(
            f"row {row + 1}: the micrograph {names[row]} is there twice",
            where=path,
            hint="remove one of the rows",
        )
    optics_block = next((b for b in blocks.values() if b.name.casefold() == "optics"), None)
    files = read_image_files(names, path, f"_{NAME}", needed=False)
    grouped = (
        optics_from_rows(_boxless(block), files, path)
        if optics_block is None
        else optics_from_block(_boxless(optics_block), block, files, path)
    )
    others = tuple(b for b in blocks.values() if b is not block and b is not optics_block)
    optics = tuple(replace(group, box=0) for group in grouped.optics)
    return MicrographTable(path, block, optics_block, others, files, optics, grouped.group)
