"""Spoiled inputs for every reader, some dozens each; benchmarks/reliability has the long run."""

from __future__ import annotations

import struct
import warnings
from pathlib import Path

import polars as pl
import pytest
from fuzz import content
from targets import PDB, TARGETS

from vitreous.errors import InputError, OptionError, VitreousError
from vitreous.io.mrc_header import HEADER_BYTES, parse_header
from vitreous.io.placed import read_placed
from vitreous.particles.expression import fulfilled

FRAME = pl.DataFrame({"number": ["1", "2", "3"], "name": ["a", "b", "c"]})


@pytest.mark.parametrize("name", TARGETS)
def test_spoiled_inputs_are_read_or_refused(name: str, tmp_path: Path) -> None:
    target = TARGETS[name]
    seeds = target.seeds(tmp_path)
    path = tmp_path / target.name
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number in range(60):
            path.write_bytes(content(target, name, seeds, number))
            try:
                target.read(path)
            except VitreousError:
                continue
            except BaseException as error:
                raise AssertionError(f"fuzz.py {name} --only {number}: {error!r}") from error


def test_the_size_of_a_map_beyond_64_bits() -> None:
    words = struct.pack("<4i", 2**20 - 1, 2**20 - 1, 2**28 - 1, 2)
    with pytest.raises(InputError, match="truncated"):
        parse_header(words.ljust(HEADER_BYTES, b"\0"), HEADER_BYTES, Path("x.mrc"))


@pytest.mark.parametrize("content", [b"", b"\n", b"data_x\n"])
def test_an_mmcif_file_without_a_model(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.cif").write_bytes(content)
    with pytest.raises(InputError, match=r"x\.cif"):
        read_placed(tmp_path / "x.cif")


def test_a_chain_whose_name_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "x.pdb").write_bytes(PDB.encode().replace(b"ALA A", b"ALA \xff"))
    with pytest.raises(InputError, match="not text"):
        read_placed(tmp_path / "x.pdb")


@pytest.mark.parametrize(
    "text",
    [
        "9" * 400 + " < number",
        "number in (" + "9" * 400 + ",)",
        "number < " + "(" * 3000 + "1" + ")" * 3000,
        "number < " + "+".join(["1"] * 3000),
        "not " * 3000 + "number < 1",
        "number < 1\ud800",
    ],
)
def test_conditions_too_large_or_deep(text: str) -> None:
    with pytest.raises(OptionError):
        fulfilled(text, FRAME, Path("x.star"))


def test_long_conditions() -> None:
    many = " or ".join(f"number == {n}" for n in range(2, 3000))
    assert fulfilled(many, FRAME, Path("x.star")).tolist() == [False, True, True]
    names = ", ".join(repr(f"name{n}") for n in range(3000))
    assert fulfilled(f"name in ('b', {names})", FRAME, Path("x.star")).tolist() == [
        False,
        True,
        False,
    ]
    mixed = "number in ('1', 2.0, -7)"
    assert fulfilled(mixed, FRAME, Path("x.star")).tolist() == [True, True, False]
