"""What a fuzzer does to valid files: bits, blocks, words, numbers and lines are spoiled."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from random import Random

NUMBERS = (
    *(b"0", b"-0", b"-1", b"1e400", b"-1e400", b"nan", b"-inf", b"1e-320", b"0x10", b"1_000"),
    *(b"9" * 400, b"2147483648", b"-2147483649", b"18446744073709551616", b"1.000000", b"1e", b"."),
)
WORDS = (
    *(b"_", b"#", b"'", b'"', b"data_", b"data_optics", b"loop_", b"save_", b"stop_", b"?", b"@"),
    *(b"\0", b"\x1b[31m", b"\r", b"\t", b"\xff", b"\xc3", b"\xef\xbb\xbf", b"[/b]", b"<null>"),
    *("\u202e", "\u2028", "\x85", "\ufdd0", "\U0010ffff", "e" + "\u0301" * 50, "\ud800"),
)
_WORDS = [w if isinstance(w, bytes) else w.encode("utf-8", "surrogatepass") for w in WORDS]
_INTEGERS = (0, 1, -1, 2, 255, 2**15, 2**16 + 1, 2**20 - 1, 2**27, 2**28 - 1, 2**31 - 1, -(2**31))
_REALS = (0.0, -0.0, 1.0, -1.0, 1e-45, 3e38, float("nan"), float("inf"), float("-inf"))


def _place(random: Random, data: bytes) -> int:
    return random.randrange(len(data) + 1)


def _span(random: Random, data: bytes) -> tuple[int, int]:
    begin = _place(random, data)
    return begin, min(len(data), begin + random.choice((1, 2, 4, 16, 100, 1000)))


def _flip(random: Random, data: bytes) -> bytes:
    if not data:
        return data
    spoiled = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 8))):
        spoiled[random.randrange(len(spoiled))] ^= 1 << random.randrange(8)
    return bytes(spoiled)


def _truncate(random: Random, data: bytes) -> bytes:
    return data[: _place(random, data)]


def _delete(random: Random, data: bytes) -> bytes:
    begin, end = _span(random, data)
    return data[:begin] + data[end:]


def _repeat(random: Random, data: bytes) -> bytes:
    begin, end = _span(random, data)
    return data[:end] + data[begin:end] * random.choice((1, 2, 10, 100)) + data[end:]


def _insert(random: Random, data: bytes) -> bytes:
    at = _place(random, data)
    new = random.choice((*_WORDS, *NUMBERS, random.randbytes(random.randrange(1, 20))))
    return data[:at] + new + data[at:]


def _word(random: Random, data: bytes) -> bytes:
    """Another word in the place of one, or two of them exchanged."""
    words = data.split(b" ")
    at = random.randrange(len(words))
    if random.random() < 0.3:
        other = random.randrange(len(words))
        words[at], words[other] = words[other], words[at]
    else:
        words[at] = random.choice((*_WORDS, *NUMBERS))
    return b" ".join(words)


def _line(random: Random, data: bytes) -> bytes:
    """A line twice, left out, exchanged with another or filled up."""
    lines = data.split(b"\n")
    at, other = random.randrange(len(lines)), random.randrange(len(lines))
    match random.randrange(4):
        case 0:
            lines.insert(other, lines[at])
        case 1:
            del lines[at]
        case 2:
            lines[at], lines[other] = lines[other], lines[at]
        case _:
            lines[at] += random.choice((b" ", b" 1", b"\t#", b" 'a b", b" x" * 50))
    return b"\n".join(lines)


def _binary_word(random: Random, data: bytes) -> bytes:
    """One of the first 256 words, as headers of maps have them, set to a remarkable number."""
    at = 4 * random.randrange(max(1, min(256, len(data) // 4)))
    order = random.choice("<<<>")
    if random.random() < 0.6:
        new = struct.pack(f"{order}i", random.choice(_INTEGERS))
    else:
        new = struct.pack(f"{order}f", random.choice(_REALS))
    return data[:at] + new + data[at + 4 :]


def _ends(random: Random, data: bytes) -> bytes:
    """Other ends of lines, or another encoding."""
    match random.randrange(4):
        case 0:
            return data.replace(b"\n", b"\r\n")
        case 1:
            return data.replace(b"\n", b"\r")
        case 2:
            return b"\xef\xbb\xbf" + data
        case _:
            return b"\xff\xfe" + data.decode("latin-1").encode("utf-16-le")


_TEXT = (_flip, _truncate, _delete, _repeat, _insert, _insert, _word, _word, _line, _line, _ends)
_BINARY = (_flip, _truncate, _delete, _repeat, _insert, *[_binary_word] * 6)
Mutation = Callable[[Random, bytes], bytes]


def mutated(random: Random, seeds: Sequence[bytes], binary: bool) -> bytes:
    """One of the valid files, spoiled in one to six ways."""
    data = random.choice(seeds)
    if random.random() < 0.05:  # the head of one, the tail of another
        other = random.choice(seeds)
        data = data[: _place(random, data)] + other[_place(random, other) :]
    kinds: Sequence[Mutation] = _BINARY if binary else _TEXT
    for _ in range(random.choice((1, 1, 1, 2, 3, 6))):
        data = random.choice(kinds)(random, data)
    return data[:1_000_000]
