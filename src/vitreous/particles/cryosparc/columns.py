"""Columns of cryoSPARC's files, every value as it was; fields read from and written to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from vitreous.errors import InputError
from vitreous.io.cryosparc import CsFormat, write_cs
from vitreous.particles.cryosparc.names import (
    COLUMNS,
    CTF_COLUMNS,
    INDEX,
    MICROGRAPH_SHAPE,
    PATH,
    PIXEL,
    POSE,
    SHIFT,
    SHIFT_PIXEL,
    Column,
    X,
    Y,
)
from vitreous.particles.cryosparc.optics import OPTICS, optics_columns
from vitreous.particles.cryosparc.values import (
    angles_of,
    as_bytes,
    class_posteriors,
    image_names,
    pose_of,
    rounded,
    texts,
)
from vitreous.particles.fields import Field, Reals, Values
from vitreous.particles.image_files import name_parts
from vitreous.particles.optics import OpticsGroup
from vitreous.particles.particle_set import ParticleSet

_ANGLES = (ParticleSet.rot, ParticleSet.tilt, ParticleSet.psi)
_ORIGIN = (ParticleSet.origin_x, ParticleSet.origin_y)
_PLACE = (ParticleSet.x, ParticleSet.y)
_TOGETHER: Mapping[Field[Any], tuple[str, ...]] = {
    **dict.fromkeys(_ANGLES, (POSE,)),
    **dict.fromkeys(_ORIGIN, (SHIFT,)),
    ParticleSet.x: (X, MICROGRAPH_SHAPE),
    ParticleSet.y: (Y, MICROGRAPH_SHAPE),
    ParticleSet.micrograph_width: (MICROGRAPH_SHAPE,),
    ParticleSet.micrograph_height: (MICROGRAPH_SHAPE,),
    ParticleSet.image_name: (PATH, INDEX),
}
"""Columns that hold a field, or several, together."""

_SIDES = (ParticleSet.micrograph_height, ParticleSet.micrograph_width)
"""In the order of the column that holds them."""

_OWN = "vitreous/{}"
"""Column of a field that cryoSPARC has none for."""


def _expected(field: Field[Any], values: np.ndarray) -> str | None:
    """What a column should hold instead; None if a field can be read from it."""
    width = {**dict.fromkeys(_ANGLES, 3), **dict.fromkeys((*_ORIGIN, *_SIDES), 2)}.get(field)
    if width is not None:
        return None if values.shape[1:] == (width,) else f"{width} numbers a row"
    if field.kind == "text":
        return None if values.ndim == 1 and values.dtype.kind in "Sui" else "text"
    return None if values.ndim == 1 and values.dtype.kind in "biuf" else "a number a row"


@dataclass(frozen=True)
class CryosparcColumns:
    """Particles of a ``.cs`` file.

    Attributes
    ----------
    path : Path
    columns : mapping of str to array (particles, ...)
    """

    path: Path
    columns: Mapping[str, np.ndarray]

    @property
    def names(self) -> list[str]:
        """The particles' columns."""
        return list(self.columns)

    @property
    def frames(self) -> list[pl.DataFrame]:
        """All that particles are described by, as text."""
        return [self.joined()]

    @property
    def missing_ctf(self) -> list[str]:
        """Columns that the CTF is computed from and that the file lacks."""
        return [name for name in CTF_COLUMNS if not self._any_named(name)]

    def _any_named(self, name: str) -> bool:
        others = next((names for names in OPTICS.values() if name in names), (name,))
        return any(one in self.columns for one in others)

    @property
    def has_optics(self) -> bool:
        """Whether values of optics groups can be written: always, as each row has its own."""
        return True

    @property
    def _undivided(self) -> bool:
        """Whether all particles are in one half, as before cryoSPARC deals them."""
        column = COLUMNS[ParticleSet.half][0].name
        return column in self.columns and len(np.unique(self.columns[column])) < 2

    def _column(self, field: Field[Any]) -> Column | None:
        """The one column that holds a field; None if there is none, or it takes several."""
        own = _OWN.format(field.name)
        if own in self.columns:
            return Column(own)
        if field in _TOGETHER:
            return None
        there = (column for column in COLUMNS.get(field, ()) if column.name in self.columns)
        return next(there, None)

    def called(self, field: Field[Any]) -> str:
        """Name of a field's column, there or to be written."""
        column = self._column(field)
        if column is not None:
            return column.name
        if field in _TOGETHER:
            return _TOGETHER[field][0]
        return COLUMNS[field][0].name if field in COLUMNS else _OWN.format(field.name)

    def called_in_optics(self, name: str) -> str:
        """Name of the column of an attribute of :class:`OpticsGroup`."""
        return OPTICS[name][0]

    def pixel_sizes_stated(self) -> dict[str, Float[np.ndarray, " m"]]:
        """Pixel sizes of the images, angstrom, by the column that states them."""
        return {PIXEL: rounded(np.unique(self.columns[PIXEL]))} if PIXEL in self.columns else {}

    def has(self, field: Field[Any]) -> bool:
        """Whether the file has a field."""
        if field is ParticleSet.class_posteriors:
            return class_posteriors(self.columns) is not None
        if field is ParticleSet.half and self._undivided:
            return False
        if self._column(field) is not None:
            return True
        return field in _TOGETHER and all(name in self.columns for name in _TOGETHER[field])

    def read(self, field: Field[Values]) -> Values | None:
        """Values of a field in its unit, reals to six decimals; None if it is missing.

        Raises
        ------
        InputError
            Naming the column, and the first row that holds none.
        """
        if not self.has(field):
            return None
        values: Any
        if field is ParticleSet.class_posteriors:
            values = rounded(np.asarray(class_posteriors(self.columns)))
        elif self._column(field) is not None:
            values = self._single(field)
        else:
            values = self._together(field)
        return values

    def _sound(self, name: str, field: Field[Any]) -> np.ndarray:
        """A column that a field can be read from."""
        values = self.columns[name]
        expected = _expected(field, values)
        if expected is not None:
            raise InputError(
                f"column {name} has the type {values.dtype} and the shape {values.shape}, expected "
                f"{expected}",
                where=self.path,
                hint="give the file as cryoSPARC wrote it",
            )
        if values.dtype.kind == "f" and not (finite := np.isfinite(values)).all():
            row = int((~finite.reshape(len(values), -1).all(axis=1)).argmax())
            raise InputError(
                f"column {name}, row {row + 1} holds {values[row]}, expected a finite number",
                where=self.path,
                hint="remove that particle",
            )
        return values

    def _texts(self, read: Callable[[], pl.Series], name: str) -> pl.Series:
        try:
            return read()
        except UnicodeDecodeError as error:
            raise InputError(
                f"column {name} holds text that is no UTF-8", where=self.path, hint="rename files"
            ) from error

    def _single(self, field: Field[Any]) -> Any:
        column = self._column(field)
        assert column is not None
        values = self._sound(column.name, field)
        if field.kind == "text":
            if values.dtype.kind == "S":
                return self._texts(lambda: texts(values), column.name).str.strip_prefix(">")
            return pl.Series(values).cast(pl.String)
        if field.kind == "whole":
            return values.astype(np.int64) + int(column.offset)
        if field.kind == "truth":
            return values != 0
        return rounded(values.astype(np.float64) * column.factor + column.offset)

    def _together(self, field: Field[Any]) -> Any:
        name = _TOGETHER[field][0]
        if field is ParticleSet.image_name:
            return self._texts(lambda: image_names(self.columns, PATH, INDEX), PATH)
        values = self._sound(name, field)
        if field in _ANGLES:
            return self._angles[:, _ANGLES.index(field)]
        if field in _ORIGIN:
            return rounded(values[:, _ORIGIN.index(field)] * self._shift_pixels())
        if field in _SIDES:
            return values[:, _SIDES.index(field)].astype(np.int64)
        return rounded(values.astype(np.float64) * self._micrograph_side(field))

    @cached_property
    def _angles(self) -> Float[np.ndarray, "n 3"]:
        """Rot, tilt, psi; the pose was seen to be sound."""
        return rounded(angles_of(self.columns[POSE]))

    def _shift_pixels(self) -> Float[np.ndarray, " n"]:
        """Angstrom that a shift of one means."""
        name = SHIFT_PIXEL if SHIFT_PIXEL in self.columns else PIXEL
        return self.columns[name].astype(np.float64)

    def _micrograph_side(self, field: Field[Any]) -> Float[np.ndarray, " n"]:
        """Pixels of the micrographs along x or y; the file has y first."""
        shape = self.columns[MICROGRAPH_SHAPE]
        return shape[:, 1 - _PLACE.index(field)].astype(np.float64)

    def holds_same(self, other: CryosparcColumns, field: Field[Any]) -> bool:
        """Whether a field is the same in another table, as all columns that may tell it are.

        Fewer bytes are compared than read; False may mean that they are not comparable.
        """
        if field is ParticleSet.class_posteriors:
            return False
        names = {_OWN.format(field.name), *_TOGETHER.get(field, ())}
        names |= {column.name for column in COLUMNS.get(field, ())}
        names |= {SHIFT_PIXEL, PIXEL} if field in _ORIGIN else set()
        mine, theirs = self.columns, other.columns
        return all(
            name in theirs and np.array_equal(mine[name], theirs[name])
            if name in mine
            else name not in theirs
            for name in names
        )

    def numbers(self, name: str) -> Reals | None:
        """Numbers of a column by its own name; None if it is missing."""
        if name not in self.columns:
            return None
        return self._sound(name, ParticleSet.scale).astype(np.float64)

    def joined(self) -> pl.DataFrame:
        """All columns as text: ``ctf/df1_A`` is named ctf_df1_A, parts are numbered from 0."""
        series = []
        for name, values in self.columns.items():
            plain = name.replace("/", "_")
            flat = values.reshape(len(values), -1)
            for part in range(flat.shape[1]):
                cells = flat[:, part]
                text = self._texts(lambda cells=cells: texts(cells), name) if (  # type: ignore[misc]
                    cells.dtype.kind == "S"
                ) else pl.Series(np.ascontiguousarray(cells)).cast(pl.String)  # fmt: skip
                series.append(text.alias(plain if values.ndim == 1 else f"{plain}_{part}"))
        return pl.DataFrame(series)

    def take(self, rows: Int[np.ndarray, " m"]) -> CryosparcColumns:
        """Some of the particles, in the order given."""
        return replace(self, columns={name: v[rows] for name, v in self.columns.items()})

    def with_fields(self, values: Mapping[Field[Any], Any]) -> CryosparcColumns:
        """Columns with the values of some fields."""
        new: dict[str, np.ndarray] = {}
        if any(field in values for field in _ANGLES):
            new[POSE] = pose_of(self._stacked(_ANGLES, values))
        if any(field in values for field in _ORIGIN):
            new |= self._shifts(self._stacked(_ORIGIN, values))
        if any(field in values for field in _SIDES):
            new[MICROGRAPH_SHAPE] = self._stacked(_SIDES, values).astype(np.uint32)
        if any(field in values for field in _PLACE):
            new |= replace(self, columns={**self.columns, **new})._places(values)
        if ParticleSet.image_name in values:
            new |= _image_columns(values[ParticleSet.image_name])
        for field, given in values.items():
            if field not in _TOGETHER:
                new |= self._written(field, given)
        return replace(self, columns={**self.columns, **new})

    def _stacked(
        self, fields: Sequence[Field[Any]], values: Mapping[Field[Any], Any]
    ) -> Float[np.ndarray, "n k"]:
        """Values of fields that are written together; those not given stay, or are 0."""
        count = len(next(iter(values.values())))
        own = (values[f] if f in values else self.read(f) for f in fields)
        return np.stack([np.zeros(count) if v is None else v for v in own], axis=1)

    def _shifts(self, origins: Float[np.ndarray, "n 2"]) -> dict[str, np.ndarray]:
        pixels = self._shift_pixels()
        shift = (origins / pixels[:, None]).astype(np.float32)
        return {SHIFT: shift, SHIFT_PIXEL: pixels.astype(np.float32)}

    def _places(self, values: Mapping[Field[Any], Any]) -> dict[str, np.ndarray]:
        """Places as fractions of the micrographs' sides; in pixels where these are not known."""
        if MICROGRAPH_SHAPE not in self.columns:
            return {_OWN.format(f.name): np.asarray(values[f]) for f in _PLACE if f in values}
        return {
            _TOGETHER[field][0]: (values[field] / self._micrograph_side(field)).astype(np.float32)
            for field in _PLACE
            if field in values
        }

    def _written(self, field: Field[Any], given: Any) -> dict[str, np.ndarray]:
        """A field's own column, or one of ours where cryoSPARC has none."""
        column = COLUMNS[field][0] if field in COLUMNS else None
        if column is None:
            name = _OWN.format(field.name)
            return {name: as_bytes(given) if field.kind == "text" else np.asarray(given)}
        if field.kind == "text":
            if column.dtype == "S":
                return {column.name: as_bytes(given)}
            numbers = given.cast(pl.UInt64, strict=False)
            if numbers.null_count():
                return {_OWN.format(field.name): as_bytes(given)}
            return {column.name: numbers.to_numpy().copy()}
        scaled = (np.asarray(given, np.float64) - column.offset) / column.factor
        if column.dtype.startswith("u"):
            scaled = np.clip(scaled.round(), 0, None)
        return {column.name: scaled.astype(column.dtype)}

    def with_optics(
        self, groups: Mapping[int, OpticsGroup], group: Int[np.ndarray, " n"], names: Sequence[str]
    ) -> CryosparcColumns:
        """Columns with some attributes of optics groups, given by their index in ``group``."""
        new = dict(self.columns)
        for place, one in groups.items():
            rows = group == place
            for name, value in optics_columns(one, names).items():
                old = new.get(name, np.zeros((len(group), *value.shape), value.dtype))
                new[name] = np.where(rows.reshape(-1, *[1] * value.ndim), value, old)
        return replace(self, columns=new)

    def with_corrections(self, *, flipped: bool, multiplied: bool) -> CryosparcColumns:
        """Columns that say of all images what was done about their CTF."""
        every = np.ones(len(self.columns["uid"]), dtype=bool)
        said = {ParticleSet.phase_flipped: flipped, ParticleSet.ctf_multiplied: multiplied}
        return self.with_fields({field: every & done for field, done in said.items()})

    def without(self, *fields: Field[Any]) -> CryosparcColumns:
        """All but the columns of some fields, and of those written together with them."""
        gone = {name for field in fields for name in _TOGETHER.get(field, ())[:1]}
        gone |= {column.name for field in fields for column in COLUMNS.get(field, ())}
        gone |= {_OWN.format(field.name) for field in fields}
        kept = {name: v for name, v in self.columns.items() if name not in gone}
        return replace(self, columns=kept)

    def write(self, path: Path, layout: CsFormat = "npy") -> None:
        """Write the ``.cs`` file, whole or not at all."""
        write_cs(path, self.columns, layout)


def _image_columns(names: pl.Series) -> dict[str, np.ndarray]:
    """Columns of image names, NUMBER@FILE."""
    parts = name_parts(names)
    number = parts["index"].fill_null("1").cast(pl.Int64).to_numpy() - 1
    return {PATH: as_bytes(parts["file"]), INDEX: number.astype(np.uint32)}
