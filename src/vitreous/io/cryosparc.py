"""cryoSPARC's ``.cs`` files: a table with one array for each column, read without pickle.

There are two formats.  One is NumPy's ``.npy`` with a structured array; the other, the compressed
stream, is in :mod:`vitreous.io.cryosparc_stream`.  Texts are arrays of bytes (UTF-8).
"""

from __future__ import annotations

import ast
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import polars as pl
from numpy.lib import format as npy

from vitreous.errors import InputError
from vitreous.io.atomic import atomic_path
from vitreous.io.cryosparc_stream import MAGIC as STREAM_MAGIC
from vitreous.io.cryosparc_stream import read_stream, write_stream
from vitreous.io.regular import require_regular

Columns = Mapping[str, np.ndarray]
"""Columns by their names, each with a row (first axis) for each particle."""

CsFormat = Literal["npy", "stream"]

_MOST_HEADER = 1 << 20
"""Bytes of a header; that of 400 columns has 20,000."""

_ROWS = 1 << 12
"""Rows read or written at a time."""

_KINDS = "biufcSU"
"""Kinds of NumPy's types that a column may have."""


def _broken(path: Path, what: str) -> InputError:
    """The error for a file that is no whole .cs file."""
    return InputError(what, where=path, hint="copy the file again from the cryoSPARC project")


def _checked(dtype: np.dtype[Any], path: Path) -> np.dtype[Any]:
    """A structured type all of whose columns hold plain numbers or texts."""
    if dtype.names is None:
        raise _broken(path, f"holds a plain array of {dtype}, expected a table with named columns")
    for name in dtype.names:
        base = dtype[name].base
        if base.hasobject:
            raise InputError(
                f"column {name} holds Python objects, which only unpickling could read: refused",
                where=path,
                hint="save it again with fixed-length text, as cryosparc-tools does",
            )
        if base.kind not in _KINDS or base.names is not None or not base.itemsize:
            raise InputError(
                f"column {name} has the type {base}, expected numbers or text",
                where=path,
                hint="remove that column",
            )
    return dtype


def _described(file: BinaryIO) -> dict[str, Any]:
    """What the header of an .npy file says, as its text is: NumPy's own reader does more to it."""
    version = npy.read_magic(file)
    width, encoding = {(1, 0): (2, "latin1"), (2, 0): (4, "latin1"), (3, 0): (4, "utf-8")}[version]
    length = int.from_bytes(file.read(width), "little")
    if length > _MOST_HEADER:
        raise ValueError(length)
    found = ast.literal_eval(file.read(length).decode(encoding).strip())
    if not isinstance(found, dict) or found["fortran_order"] not in (False, True):
        raise ValueError(found)
    return found


def _header(file: BinaryIO, path: Path) -> tuple[int, np.dtype[Any]]:
    """Rows and type of the array that follows in an .npy file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd escapes in spoiled text
            found = _described(file)
        shape, dtype = found["shape"], npy.descr_to_dtype(found["descr"])
    except (ValueError, KeyError, TypeError, SyntaxError, RecursionError, MemoryError) as error:
        raise _broken(path, "has a header that cannot be read as NumPy's") from error
    if not (isinstance(shape, tuple) and len(shape) == 1 and type(shape[0]) is int):
        raise _broken(path, f"holds an array of shape {shape}, expected rows of a table")
    if shape[0] < 0:
        raise _broken(path, f"announces {shape[0]} rows")
    return shape[0], _checked(dtype, path)


def _has_inner_zeros(texts: np.ndarray) -> bool:
    """Whether some text goes on after a zero byte, which ends one everywhere else."""
    if not texts.size:
        return False
    rows = texts.reshape(len(texts), -1)
    others = np.append(True, (rows[1:] != rows[:-1]).any(axis=1))  # texts come in runs
    letters = np.ascontiguousarray(rows[others]).reshape(-1, 1).view(np.uint8)
    return bool(((letters[:, :-1] == 0) & (letters[:, 1:] != 0)).any())


def _native(values: np.ndarray) -> np.ndarray:
    """The same values in the machine's byte order, text as UTF-8."""
    if values.dtype.kind == "U":
        return np.char.encode(values, "utf-8")
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def _read_npy(file: BinaryIO, path: Path) -> dict[str, np.ndarray]:
    count, dtype = _header(file, path)
    there = os.fstat(file.fileno()).st_size - file.tell()
    if there < count * dtype.itemsize:
        raise _broken(
            path,
            f"is truncated: {count:,} rows of {dtype.itemsize} bytes are announced, but "
            f"{there:,} bytes follow",
        )
    assert dtype.names is not None
    columns = {
        name: np.empty((count, *dtype[name].shape), dtype=dtype[name].base) for name in dtype.names
    }
    for start in range(0, count, _ROWS):
        rows = np.fromfile(file, dtype, min(_ROWS, count - start))
        for name, values in columns.items():
            part = values[start : start + len(rows)]
            part[...] = rows[name]
            if part.dtype.kind == "S" and _has_inner_zeros(part):
                raise _broken(path, f"holds zero bytes within a text of column {name}")
    try:
        return {name: _native(values) for name, values in columns.items()}
    except UnicodeError as error:
        raise _broken(path, "holds text that is no Unicode") from error


def _require_uids(columns: Columns, path: Path) -> None:
    uid = columns.get("uid")
    if uid is None or uid.dtype.kind != "u" or uid.ndim != 1:
        found = "no column uid" if uid is None else f"a column uid of {uid.dtype}"
        raise InputError(
            f"{found}, expected one with a whole number for each row",
            where=path,
            hint="give a .cs file of particles that cryoSPARC wrote",
        )
    if pl.Series(uid).n_unique() < len(uid):
        values, counts = np.unique(uid, return_counts=True)
        raise InputError(
            f"the uid {values[counts > 1][0]} stands in {counts.max()} rows, expected it in one",
            where=path,
            hint="remove the rows that are there twice",
        )


def read_cs(path: Path | str) -> dict[str, np.ndarray]:
    """Read a ``.cs`` file of either format, all columns.

    Raises
    ------
    InputError
        For a file that is missing, of another kind or truncated, for columns of Python objects or
        of unknown types, and for uids that are missing or there twice.
    """
    path = Path(path)
    require_regular(path)
    try:
        with path.open("rb") as file:
            magic = file.read(len(STREAM_MAGIC))
            if magic == STREAM_MAGIC:
                columns = read_stream(file, path)
            elif magic == npy.MAGIC_PREFIX:
                file.seek(0)
                columns = _read_npy(file, path)
            else:
                raise _broken(path, f"is no .cs file: it begins with {magic!r}")
    except OSError as error:
        raise InputError(
            f"cannot be read: {error.strerror or error}", where=path, hint="check the path"
        ) from error
    _require_uids(columns, path)
    return columns


def _write_header(file: BinaryIO, dtype: np.dtype[Any], count: int) -> None:
    header = {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": (count,)}
    try:
        npy.write_array_header_1_0(file, header)
    except ValueError:  # more than 65,535 bytes
        npy.write_array_header_2_0(file, header)


def _fixed(values: np.ndarray) -> np.dtype[Any]:
    """Type of a column; NumPy has no text of no bytes in files."""
    return np.dtype("S1") if values.dtype == "S0" else values.dtype


def _write_npy(file: BinaryIO, columns: Columns) -> None:
    fields = [(name, _fixed(values), values.shape[1:]) for name, values in columns.items()]
    dtype, count = np.dtype(fields), len(columns["uid"])
    _write_header(file, dtype, count)
    some = np.zeros(min(_ROWS, count), dtype)
    for start in range(0, count, _ROWS):
        rows = some[: count - start]
        for name, values in columns.items():
            rows[name] = values[start : start + len(rows)]
        file.write(rows.tobytes())


def write_cs(path: Path | str, columns: Columns, layout: CsFormat = "npy") -> None:
    """Write a ``.cs`` file, whole or not at all.

    Parameters
    ----------
    path : Path
    columns : mapping of str to array (rows, ...)
        With one named uid; numbers, or texts as bytes.
    layout : {"npy", "stream"}
        Which of the two formats.
    """
    lengths = {len(values) for values in columns.values()}
    if "uid" not in columns or len(lengths) > 1:
        raise ValueError(f"columns of {sorted(lengths)} rows: {', '.join(columns)}")
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        (_write_npy if layout == "npy" else write_stream)(file, columns)
