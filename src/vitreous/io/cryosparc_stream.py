"""The compressed stream, the newer of cryoSPARC's formats of ``.cs`` files.

Six bytes of magic; the length of a header (four bytes, little-endian) and the header as JSON; then
for each column its length in the file and its bytes, compressed by LZ4 (a block without a header)
if the file says so; last a heap of texts, each ended by a zero.  A column of texts holds, for each
row, where its text begins in the heap.  A table without rows has no columns after the header.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from vitreous.errors import InputError

MAGIC = b"\x95CSDAT"

_MOST_RATIO = 255
"""LZ4 cannot make a block shorter than this share of its content."""

_NUMBERS = frozenset(
    f"<{kind}{size}" for kind, sizes in {"f": "248", "i": "248", "u": "248", "c": "8"}.items()
    for size in sizes
) | {"|i1", "|u1", "|b1", "<c16"}  # fmt: skip
_TEXT = "|O"
"""In the stream it stands for texts in the heap, not for Python objects."""


@dataclass(frozen=True)
class _Column:
    """A column as the header describes it."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    compressed: bool

    def stored(self) -> np.dtype[Any]:
        return np.dtype("<u8" if self.dtype == _TEXT else self.dtype)

    def size(self, count: int) -> int:
        return count * math.prod(self.shape) * self.stored().itemsize


def _broken(path: Path, what: str) -> InputError:
    return InputError(what, where=path, hint="copy the file again from the cryoSPARC project")


def _exactly(file: BinaryIO, count: int, what: str, path: Path) -> bytes:
    if os.fstat(file.fileno()).st_size - file.tell() < count:
        raise _broken(path, f"is truncated: it ends within {what}")
    return file.read(count)


def _length(file: BinaryIO, what: str, path: Path) -> int:
    return int.from_bytes(_exactly(file, 4, what, path), "little")


def _column(entry: Any, compressed: Any, path: Path) -> _Column:
    name, dtype, *rest = entry
    shape = tuple(rest[0]) if rest else ()
    if not isinstance(name, str) or not all(isinstance(n, int) and n > 0 for n in shape):
        raise ValueError(entry)
    if dtype != _TEXT and dtype not in _NUMBERS:
        raise InputError(
            f"column {name} has the type {dtype!r}, expected numbers or text",
            where=path,
            hint="save the file again with cryosparc-tools",
        )
    return _Column(name, dtype, shape, name in compressed)


def _read_header(file: BinaryIO, path: Path) -> tuple[int, list[_Column]]:
    """Rows and columns that follow."""
    text = _exactly(file, _length(file, "its header", path), "its header", path)
    try:
        header = json.loads(text)
        count, compressed = header["length"], header["compressed_fields"]
        columns = [_column(entry, compressed, path) for entry in header["dtype"]]
        if not isinstance(count, int) or isinstance(count, bool) or count < 0:
            raise ValueError(count)
        if len({column.name for column in columns}) < len(columns):
            raise ValueError("a name twice")
        if header["compression"] not in (None, "lz4"):
            raise ValueError(header["compression"])
    except (ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
        raise _broken(path, "has a header that does not describe a table") from error
    return count, columns


def _bytes_of(file: BinaryIO, column: _Column, count: int, path: Path) -> bytes:
    """Content of a column."""
    import lz4.block

    what = f"column {column.name}"
    stored = _exactly(file, _length(file, what, path), what, path)
    size = column.size(count)
    if not column.compressed:
        content = stored
    elif size > _MOST_RATIO * len(stored) + 64:
        raise _broken(path, f"announces {count:,} rows, more than {what} can hold")
    else:
        try:
            content = lz4.block.decompress(stored, uncompressed_size=size)
        except (lz4.block.LZ4BlockError, ValueError, OverflowError) as error:
            raise _broken(path, f"holds damaged data in {what}") from error
    if len(content) != size:
        raise _broken(path, f"holds {len(content):,} bytes in {what}, expected {size:,}")
    return content


def _texts(starts: np.ndarray, heap: bytes, name: str, path: Path) -> np.ndarray:
    """Texts of the heap, by where they begin."""
    places, row = np.unique(starts, return_inverse=True)
    if len(places) and int(places[-1]) >= len(heap):
        raise _broken(path, f"holds a text in column {name} that lies behind the file's end")
    found = []
    for place in places.tolist():
        end = heap.find(b"\0", place)
        if end < 0:
            raise _broken(path, f"is truncated: it ends within a text of column {name}")
        found.append(heap[place:end])
    return np.array(found or [b""])[row.reshape(starts.shape)]


def read_stream(file: BinaryIO, path: Path) -> dict[str, np.ndarray]:
    """Columns of a stream whose magic bytes were read.

    Raises
    ------
    InputError
        For a stream that is truncated or damaged, and for columns of unknown types.
    """
    count, columns = _read_header(file, path)
    raw: dict[str, np.ndarray] = {}
    for column in columns:
        content = _bytes_of(file, column, count, path) if count else b""
        values = np.frombuffer(bytearray(content), column.stored())
        raw[column.name] = values.reshape(count, *column.shape)
    heap = file.read()
    texts = {column.name for column in columns if column.dtype == _TEXT}
    return {
        name: _texts(values, heap, name, path) if name in texts else values
        for name, values in raw.items()
    }


class _Heap:
    """Texts in the order that they come up, the empty one first."""

    def __init__(self) -> None:
        self._place = {b"": 0}
        self._pieces = [b"\0"]
        self._end = 1

    def starts(self, texts: np.ndarray) -> np.ndarray:
        distinct, row = np.unique(texts, return_inverse=True)
        places = [self._add(text) for text in distinct.tolist()]
        return np.array(places, dtype="<u8")[row.reshape(texts.shape)]

    def _add(self, text: bytes) -> int:
        if text not in self._place:
            self._place[text] = self._end
            self._pieces.append(text + b"\0")
            self._end += len(text) + 1
        return self._place[text]

    def content(self) -> bytes:
        return b"".join(self._pieces)


def _described(name: str, values: np.ndarray) -> list[Any]:
    dtype = _TEXT if values.dtype.kind == "S" else values.dtype.newbyteorder("<").str
    return [name, dtype, *([list(values.shape[1:])] if values.ndim > 1 else [])]


def write_stream(file: BinaryIO, columns: Mapping[str, np.ndarray]) -> None:
    """Write columns as a stream, all but the uids compressed."""
    import lz4.block

    count = len(columns["uid"])
    compressed = [name for name in columns if name != "uid"]
    header = json.dumps(
        {
            "length": count,
            "dtype": [_described(name, values) for name, values in columns.items()],
            "compression": "lz4",
            "compressed_fields": compressed,
        }
    ).encode()
    file.write(MAGIC + len(header).to_bytes(4, "little") + header)
    heap = _Heap()
    for name, values in columns.items() if count else ():
        numbers = heap.starts(values) if values.dtype.kind == "S" else values
        content = np.ascontiguousarray(numbers, numbers.dtype.newbyteorder("<")).tobytes()
        if name in compressed:
            content = lz4.block.compress(content, store_size=False)
        file.write(len(content).to_bytes(4, "little") + content)
    file.write(heap.content())
