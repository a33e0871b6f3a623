"""Files in and out: MRC by hand-made bytes and mrcfile, STAR by RELION's quirks."""

from __future__ import annotations

import codecs
import os
import subprocess
import sys
import time
from pathlib import Path

import mrcfile
import numpy as np
import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vitreous.errors import InputError, OutputError
from vitreous.io import mrc
from vitreous.io.atomic import atomic_path
from vitreous.io.models import density, read_model
from vitreous.io.mrc import open_stack, read_map, stack_writer, write_map
from vitreous.io.mrc_header import MrcHeader
from vitreous.io.star import StarBlock, read_star, write_star

MODES = {0: np.int8, 1: np.int16, 2: np.float32, 6: np.uint16, 12: np.float16}


def raw_mrc(path: Path, data: np.ndarray, mode: int, order: str, extended: int = 0) -> None:
    """An MRC file made byte by byte from the format's definition."""
    header = np.zeros(256, dtype=f"{order}i4")
    header[:4] = *data.shape[::-1], mode
    header[7:10] = data.shape[::-1]
    header[10:13] = np.array([2.5 * n for n in data.shape[::-1]], dtype=f"{order}f4").view(
        f"{order}i4"
    )
    header[16:19] = 1, 2, 3
    header[23] = extended
    body = data.astype(np.dtype(MODES[mode]).newbyteorder(order)).tobytes()
    path.write_bytes(header.tobytes() + b"\xff" * extended + body)


def test_the_same_map_is_the_same_file_a_second_later(tmp_path: Path) -> None:
    volume = np.ones((4, 4, 4), np.float32)
    write_map(tmp_path / "now.mrc", volume, 2.0)
    time.sleep(1.1)
    write_map(tmp_path / "later.mrc", volume, 2.0)
    assert (tmp_path / "now.mrc").read_bytes() == (tmp_path / "later.mrc").read_bytes()
    assert mrcfile.validate(tmp_path / "now.mrc")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("order", "<>")
def test_modes_and_byte_orders(tmp_path: Path, mode: int, order: str) -> None:
    data = np.arange(4 * 4 * 4).reshape(4, 4, 4)
    raw_mrc(tmp_path / "a.mrc", data, mode, order, extended=128)
    volume, pixel = read_map(tmp_path / "a.mrc")
    np.testing.assert_array_equal(volume, data)
    assert pixel == pytest.approx(2.5)
    np.testing.assert_array_equal(
        open_stack(tmp_path / "a.mrc").read(np.array([3, 0, 3])), data[[3, 0, 3]]
    )


def test_what_we_write_mrcfile_reads(tmp_path: Path) -> None:
    volume = np.random.default_rng(0).normal(size=(6, 6, 6)).astype(np.float32)
    write_map(tmp_path / "m.mrc", volume, 3.5)
    with mrcfile.open(tmp_path / "m.mrc") as file:
        np.testing.assert_array_equal(file.data, volume)
        assert float(file.voxel_size.x) == pytest.approx(3.5)
    with stack_writer(tmp_path / "s.mrcs", 6, 5, 3.5) as stack:
        stack.append(volume[:2])
        stack.append(volume[:3])
    with mrcfile.open(tmp_path / "s.mrcs") as file:
        assert file.is_image_stack()
        np.testing.assert_array_equal(file.data, np.concatenate([volume[:2], volume[:3]]))


def test_bad_mrc_files(tmp_path: Path) -> None:
    data = np.zeros((4, 8, 8))
    raw_mrc(tmp_path / "cut.mrcs", data, 2, "<")
    whole = (tmp_path / "cut.mrcs").read_bytes()
    (tmp_path / "cut.mrcs").write_bytes(whole[:-100])
    (tmp_path / "empty.mrc").write_bytes(b"")
    (tmp_path / "text.mrc").write_text("no map " * 400)
    for name, words in (
        ("cut.mrcs", "truncated"),
        ("empty.mrc", "truncated"),
        ("text.mrc", "not an MRC"),
        ("missing.mrc", "cannot be read"),
    ):
        with pytest.raises(InputError, match=words):
            open_stack(tmp_path / name)


@pytest.mark.parametrize("left", [0, 500, 1024, 2000])
def test_a_map_that_shrinks_while_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: int
) -> None:
    path, cube = tmp_path / "m.mrc", np.ones((8, 8, 8), np.float32)
    write_map(path, cube, 3.5)
    parse = mrc.parse_header

    def parse_and_cut(raw: bytes, size: int, name: Path) -> MrcHeader:
        header = parse(raw, size, name)
        os.truncate(path, left)
        return header

    monkeypatch.setattr(mrc, "parse_header", parse_and_cut)
    words = f"m.mrc: holds {max(left - 1024, 0)} of the 2048 bytes of its values.*; copy or write"
    with pytest.raises(InputError, match=words):
        read_map(path)


def test_a_map_that_shrinks_once_it_is_read(tmp_path: Path) -> None:
    write_map(tmp_path / "m.mrc", np.ones((64, 64, 64), np.float32), 3.5)
    code = (
        "import os; from vitreous.io.mrc import in_order, load\n"
        "header, stored = load('m.mrc'); os.truncate('m.mrc', 0)\n"
        "print(in_order(header, stored).sum())"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True)
    assert (done.returncode, done.stdout.strip()) == (0, b"262144.0")  # no SIGBUS


def test_nothing_is_left_half_written(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), atomic_path(tmp_path / "x") as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(OutputError), atomic_path(tmp_path / "file" / "x"):
        pass


QUIRKS = """# a comment
data_optics
_rlnOpticsGroupName  'one  group' # trailing
_rlnVoltage\t300

# version 30001
data_particles

loop_
_rlnImageName #1
_note #2
_rlnOpticsGroup
1@a#b.mrcs   "two words"  1
\t2@a#b.mrcs ''\t1

3@a#b.mrcs it's 1"""


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_star_quirks(tmp_path: Path, end: str) -> None:
    (tmp_path / "q.star").write_bytes(QUIRKS.replace("\n", end).encode())
    blocks = read_star(tmp_path / "q.star")
    assert not blocks["optics"].is_loop
    assert blocks["optics"].frame.row(0) == ("one  group", "300")
    frame = blocks["particles"].frame
    assert frame.columns == ["rlnImageName", "note", "rlnOpticsGroup"]
    assert frame["note"].to_list() == ["two words", "", "it's"]
    assert frame["rlnImageName"].to_list() == [f"{i}@a#b.mrcs" for i in (1, 2, 3)]


WORDS = st.text(
    st.characters(min_codepoint=32, max_codepoint=0x2FF, exclude_characters="\"'"),
    max_size=8,
)
CELLS = st.one_of(
    WORDS,
    st.sampled_from(
        ["", "_", "#", "data_", "loop_", "it's", "'", '"', "a\tb", "\xa0", "\r", "a' b"]
    ),
)


@given(rows=st.lists(st.tuples(CELLS, CELLS, CELLS), max_size=6), is_loop=st.booleans())
def test_star_round_trip(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple], is_loop: bool
) -> None:
    path = tmp_path_factory.mktemp("star") / "r.star"
    schema = dict.fromkeys("abc", pl.String)
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    empty = StarBlock("empty", pl.DataFrame(), is_loop)
    write_star(path, [StarBlock("x", frame, is_loop), empty, StarBlock("y", frame)])
    blocks = read_star(path)
    assert blocks["x"].frame.equals(frame)
    assert blocks["y"].frame.equals(frame)
    assert blocks["empty"].frame.is_empty()


TWO_BLOCKS = (
    "# made elsewhere\ndata_optics\n\nloop_\n_a\n_b\n1 caf\u00e9\n\ndata_x\nloop_\n_c #1\n\u00e9\n"
)


@pytest.mark.parametrize(
    "raw",
    [
        codecs.BOM_UTF8 + TWO_BLOCKS.encode(),
        TWO_BLOCKS.encode("utf-16"),
        codecs.BOM_UTF16_BE + TWO_BLOCKS.encode("utf-16-be"),
        TWO_BLOCKS.replace("\n", "\r").encode(),
        codecs.BOM_UTF8 + TWO_BLOCKS.replace("\n", "\r\n").encode(),
    ],
    ids=["byte-order mark", "utf-16", "big-endian", "old Macintosh", "Windows"],
)
def test_star_encodings(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "e.star").write_bytes(raw)
    blocks = read_star(tmp_path / "e.star")
    assert list(blocks) == ["optics", "x"]
    assert blocks["optics"].frame.row(0) == ("1", "caf\u00e9")
    assert blocks["x"].frame.row(0) == ("\u00e9",)


@given(cells=st.lists(st.binary(min_size=1, max_size=6), min_size=1, max_size=5))
@example(cells=[codecs.BOM_UTF8])
@example(cells=["\u2000".encode()])  # a blank of Unicode, not of STAR
def test_bytes_of_any_encoding_come_out_as_they_went_in(
    tmp_path_factory: pytest.TempPathFactory, cells: list[bytes]
) -> None:
    """Cells of bytes beyond ASCII, private characters of UTF-8 among them."""
    cells = [bytes(b | 0x80 for b in cell) + "\uf7e9\u00e9".encode() for cell in cells]
    path = tmp_path_factory.mktemp("star") / "r.star"
    path.write_bytes(b"data_x\nloop_\n_a\n" + b"\n".join(cells) + b"\n")
    blocks = read_star(path)
    write_star(path, blocks.values())
    assert path.read_bytes().split(b"_a #1\n")[1].split() == b" ".join(cells).split()
    assert read_star(path)["x"].frame.equals(blocks["x"].frame)


def test_a_value_that_star_cannot_hold(tmp_path: Path) -> None:
    for cell in ("two\nlines", "' \" x"):
        with pytest.raises(InputError, match="cannot stand"):
            write_star(tmp_path / "r.star", [StarBlock("x", pl.DataFrame({"a": [cell]}))])
    assert list(tmp_path.iterdir()) == []


def test_star_comments_and_blanks_between_many_rows(tmp_path: Path) -> None:
    rows = [f"  {i:6d}@m.mrcs \t {i / 7:12.6f}  " for i in range(300_000)]  # several pieces
    rows[5] += "\n\n   \t\n"
    head = "data_p\nloop_\n_rlnImageName #1\n_x #2\n"
    text = head + "\n".join(rows) + "\n\n# version 50001\n\ndata_next\n_a b\n"
    (tmp_path / "r.star").write_text(text)
    frame = read_star(tmp_path / "r.star")["p"].frame
    assert len(frame) == 300_000
    np.testing.assert_allclose(frame["x"].cast(pl.Float64), np.arange(300_000) / 7, atol=1e-6)
    assert frame["rlnImageName"][-1] == "299999@m.mrcs"
    (tmp_path / "r.star").write_text(text.replace(rows[7], "7@m.mrcs"))
    with pytest.raises(InputError, match="line 15 has 1 values"):
        read_star(tmp_path / "r.star")


@pytest.mark.parametrize(
    "text,words",
    [
        ("", "not a STAR"),
        ("hello\n", "not a STAR"),
        ("data_x\nloop_\n_a\n_b\n1 2\n3\n", "line 6 has 1"),
        ("data_x\nloop_\n_a\n_b\n1 2\n3 4 5\n", "line 6 has 3"),
        ("data_x\nloop_\n_a\n_a\n1 2\n", "twice"),
        ("data_x\nloop_\n_a\n1\ndata_x\nloop_\n_a\n1\n", "line 5: block data_x stands twice"),
        ("data_x\n_a 1\n_a 2\n", "line 3 gives _a a second value"),
        ("data_x\n_a 1 2\n", "line 2 is neither"),
        ("lost 1\ndata_x\nloop_\n_a\n1\n", "line 1 belongs to no block"),
        ("# fine\n\ndata_x loop_\n_a\n1\n", "line 3 belongs to no block"),
        ("data_x\nloop_\n_\n1\n", "is no column name"),
        ("data_x\nloop_\n_a 5\n1\n", "is no column name"),
    ],
)
def test_bad_star_files(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "b.star").write_text(text)
    with pytest.raises(InputError, match=words):
        read_star(tmp_path / "b.star")


def test_model_density_keeps_scattering_and_centre(tmp_path: Path) -> None:
    atoms = [("C", 0, 0, 0), ("O", 14, 3, -6), ("S", -11, 9, 8)]
    lines = [
        f"ATOM  {i:5d}  {e}   ALA A{i:4d}    {x:8.3f}{y:8.3f}{z:8.3f}  1.00 20.00           {e}"
        for i, (e, x, y, z) in enumerate(atoms, 1)
    ]
    (tmp_path / "m.pdb").write_text("\n".join([*lines, "END", ""]))
    found = density(read_model(tmp_path / "m.pdb"), 48, 1.5, resolution=6.0)
    # Electron form factors at zero angle (Peng 1996), angstrom, and masses.
    scattering, mass = np.array([2.509, 1.983, 5.161]), np.array([12.011, 15.999, 32.06])
    positions = np.array([a[1:] for a in atoms], dtype=float)
    positions -= (positions * mass[:, None]).sum(0) / mass.sum()
    assert found.sum() * 1.5**3 == pytest.approx(scattering.sum(), rel=0.02)
    axis = (np.arange(48) - 24) * 1.5
    centre = [
        (found.sum(axis=dims) * axis).sum() / found.sum() for dims in ((0, 1), (0, 2), (1, 2))
    ]
    expected = (positions * scattering[:, None]).sum(0) / scattering.sum()
    np.testing.assert_allclose(centre, expected, atol=0.15)


def test_bad_models(tmp_path: Path) -> None:
    (tmp_path / "none.pdb").write_text("END\n")
    with pytest.raises(InputError, match="no atoms"):
        read_model(tmp_path / "none.pdb")
    with pytest.raises(InputError):
        read_model(tmp_path / "missing.pdb")
