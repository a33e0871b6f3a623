"""What an adapter of a file format does for a particle set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from vitreous.particles.fields import Field, Reals, Values
from vitreous.particles.optics import OpticsGroup


class Carried(Protocol):
    """What a particle file holds, under its own names: each format has an adapter of this kind.

    Cells that no field was set for are written as they were read, and so are columns that the
    package does not understand.
    """

    @property
    def names(self) -> list[str]:
        """The particles' columns."""

    @property
    def frames(self) -> list[pl.DataFrame]:
        """All that particles are described by, as text."""

    @property
    def missing_ctf(self) -> list[str]:
        """Names of what the CTF is computed from and the file lacks, for a message."""

    @property
    def has_optics(self) -> bool:
        """Whether values of optics groups can be written."""

    def called(self, field: Field[Any]) -> str:
        """Give the file's name of a field, for a message."""

    def called_in_optics(self, name: str) -> str:
        """Give the file's name of an attribute of :class:`OpticsGroup`, for a message."""

    def pixel_sizes_stated(self) -> dict[str, Float[np.ndarray, " m"]]:
        """Pixel sizes, angstrom, by the names of what states them."""

    def has(self, field: Field[Any]) -> bool:
        """Whether the file has a field."""

    def read(self, field: Field[Values]) -> Values | None:
        """Values of a field in its unit; None if it is missing.

        Raises
        ------
        InputError
            Naming file, row and column of the first cell that holds none.
        """

    def numbers(self, name: str) -> Reals | None:
        """Numbers of a column by its own name; None if it is missing. Errors are as of ``read``."""

    def joined(self) -> pl.DataFrame:
        """All columns of the particles and of their optics groups, as text."""

    def take(self, rows: Int[np.ndarray, " m"]) -> Self:
        """Some of the particles, in the order given."""

    def with_fields(self, values: Mapping[Field[Any], Any]) -> Self:
        """Columns with the values of some fields, numbers to six decimals."""

    def with_optics(
        self, groups: Mapping[int, OpticsGroup], group: Int[np.ndarray, " n"], names: Sequence[str]
    ) -> Self:
        """Columns with some attributes of optics groups, given by their index in ``group``."""

    def with_corrections(self, *, flipped: bool, multiplied: bool) -> Self:
        """Columns that say of all images what was done about their CTF."""

    def without(self, *fields: Field[Any]) -> Self:
        """All but the columns of some fields."""

    def write(self, path: Path) -> None:
        """Write the file, whole or not at all."""
