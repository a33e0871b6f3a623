"""Text files in any encoding, whose bytes come out as they went in.

Bytes that are not UTF-8 (file names of other systems, in latin-1 for instance) are carried as
characters of a private range, one for each byte.
"""

from __future__ import annotations

import codecs
import os
import re
from functools import lru_cache
from pathlib import Path

_FIRST = 0xF780
"""Character that stands for the byte 0x80."""

CARRIED = f"[{chr(_FIRST)}-{chr(_FIRST + 0x7F)}]"
"""Pattern of a character that stands for a byte."""

_BEYOND_ASCII = re.compile(rb"[\x80-\xff]+")
_CARRIED = re.compile(CARRIED)
_CARRIED_BYTES = re.compile(rb"\xef[\x9e\x9f][\x80-\xbf]")
_SURROGATES = re.compile("[\udc80-\udcff]")
_SURROGATE = 0xDC80
"""What Python's file names have for the byte 0x80 where it is not UTF-8."""


def _characters(raw: bytes) -> str:
    """One private character for each byte."""
    return "".join(chr(_FIRST - 0x80 + byte) for byte in raw)


@lru_cache(maxsize=4096)
def _as_utf8(run: bytes) -> bytes:
    text = run.decode("utf-8", "surrogateescape")
    # A file's own characters of the private range are carried as bytes, too, so none is lost.
    text = _CARRIED.sub(lambda found: _characters(found.group().encode()), text)
    return _SURROGATES.sub(
        lambda found: chr(ord(found.group()) - _SURROGATE + _FIRST), text
    ).encode()


def utf8(raw: bytes) -> bytes:
    """Content of a text file as UTF-8 without a byte-order mark, its lines ending in a newline.

    UTF-16 is told by its byte-order mark.

    Raises
    ------
    UnicodeDecodeError
        For UTF-16 that is broken.
    """
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raw = raw.decode("utf-16").encode()
    raw = raw.removeprefix(codecs.BOM_UTF8)
    if b"\n" not in raw and b"\r" in raw:  # as Macintosh computers once wrote
        raw = raw.replace(b"\r", b"\n")
    if raw.isascii():
        return raw
    return _BEYOND_ASCII.sub(lambda found: _as_utf8(found.group()), raw)


def original(text: bytes) -> bytes:
    """UTF-8 with the bytes of before in the place of the characters that carried them."""
    return _CARRIED_BYTES.sub(
        lambda found: bytes([ord(found.group().decode()) - _FIRST + 0x80]), text
    )


def path_of(cell: str) -> Path:
    """File that a cell names."""
    if cell.isascii():
        return Path(cell)
    return Path(os.fsdecode(original(cell.encode())))


def cell_of(path: Path) -> str:
    """Cell that names a file."""
    name = str(path)
    return name if name.isascii() else _as_utf8(os.fsencode(name)).decode()
