"""Particles from one program's format into another's, and back without loss."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from conftest import simulated
from cryosparc_samples import cs_columns
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vitreous.config.particles import ConvertConfig
from vitreous.errors import VitreousError
from vitreous.io.cryosparc import read_cs, write_cs
from vitreous.io.star import StarBlock, read_star, write_star
from vitreous.jobs.particles.convert import Conversion, run_convert
from vitreous.particles.files import read_particles, write_particles
from vitreous.particles.particle_set import ParticleSet

FEW = settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def star(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulated(tmp_path_factory.mktemp("convert") / "data", 40, box=24, snr=1.0, seed=8)


def converted(source: Path, out: Path, **options) -> Conversion:
    return run_convert(ConvertConfig(particles=source, out=out, overwrite=True, **options))


def blocks_equal(one: Path, other: Path) -> None:
    first, second = read_star(one), read_star(other)
    assert list(first) == list(second)
    for name, block in first.items():
        assert block.frame.columns == second[name].frame.columns
        assert block.frame.equals(second[name].frame), name


def columns_equal(one: Path, other: Path) -> None:
    first, second = read_cs(one), read_cs(other)
    assert list(first) == list(second)
    for name, values in first.items():
        assert values.dtype.kind == second[name].dtype.kind
        np.testing.assert_array_equal(values, second[name], err_msg=name)


NUMBERS = st.floats(-1e4, 1e4, width=32).map(lambda x: f"{x:.7f}") | st.integers(0, 99).map(str)
WORDS = st.text("ab µ0_", min_size=1, max_size=5).map(lambda t: t.strip() or "x")
ANGLES = st.floats(-180, 180).map(str)
OF_NUMBERS = ("rlnDefocusU", "rlnCoordinateX", "rlnCoordinateY", "rlnOriginXAngst",
              "rlnAutopickFigureOfMerit", "rlnFuture", "rlnMaxValueProbDistribution")  # fmt: skip
OF_ANGLES = ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi", "rlnDefocusAngle", "rlnPhaseShift")
OF_WHOLES = ("rlnRandomSubset", "rlnClassNumber", "rlnGroupNumber")


@st.composite
def star_tables(draw: st.DrawFn) -> pl.DataFrame:
    count = draw(st.integers(1, 5))
    rows = st.lists
    columns = {"rlnImageName": [f"{n + 1}@a/b.mrcs" for n in range(count)]}
    for names, cells in (
        (OF_NUMBERS, NUMBERS), (OF_ANGLES, ANGLES), (OF_WHOLES, st.integers(1, 2).map(str)),
        (("rlnMicrographName", "labNote"), WORDS),
    ):  # fmt: skip
        for name in names:
            if draw(st.booleans()):
                columns[name] = draw(rows(cells, min_size=count, max_size=count))
    return pl.DataFrame(columns)


OPTICS = {
    "rlnOpticsGroup": "1", "rlnOpticsGroupName": "mine", "rlnImagePixelSize": "1.0600001",
    "rlnImageSize": "64", "rlnVoltage": "300", "rlnSphericalAberration": "2.70",
    "rlnAmplitudeContrast": "1e-1", "rlnBeamTiltX": "-0.25", "rlnBeamTiltY": "0.125",
    "rlnMtfFileName": "mtf.star",
}  # fmt: skip


@FEW
@given(star_tables(), st.booleans(), st.sampled_from(["npy", "stream"]))
def test_star_to_cs_and_back(
    tmp_path_factory: pytest.TempPathFactory, table: pl.DataFrame, old: bool, layout: str
) -> None:
    folder = tmp_path_factory.mktemp("pair")
    source = folder / "a.star"
    if old:
        lone = table.with_columns(
            rlnMagnification=pl.lit("10000"), rlnDetectorPixelSize=pl.lit("1.06"),
            rlnImageSize=pl.lit("64"),
        )  # fmt: skip
        write_star(source, [StarBlock("", lone)])
    else:
        rows = table.with_columns(rlnOpticsGroup=pl.lit("1"))
        lab = StarBlock("lab", pl.DataFrame({"who": ["me"]}), is_loop=False)
        write_star(
            source, [StarBlock("optics", pl.DataFrame([OPTICS])), lab, StarBlock("particles", rows)]
        )
    converted(source, folder / "b.cs", cs_layout=layout)
    converted(folder / "b.cs", folder / "c.star", layout="3.0" if old else "3.1")
    blocks_equal(source, folder / "c.star")


FLOATS = st.floats(-3, 3, width=32)


@FEW
@given(st.data())
def test_cs_to_star_and_back(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder, count = tmp_path_factory.mktemp("pair"), data.draw(st.integers(1, 5))

    def floats(*shape: int) -> np.ndarray:
        size = int(np.prod((count, *shape)))
        drawn = data.draw(st.lists(FLOATS, min_size=size, max_size=size))
        return np.array(drawn, np.float32).reshape(count, *shape)

    uids = data.draw(
        st.lists(st.integers(0, 2**64 - 1), min_size=count, max_size=count, unique=True)
    )
    columns = {
        "uid": np.array(uids, np.uint64),
        "blob/path": np.array([">J1/ä.mrc".encode()] * count),
        "blob/idx": np.arange(count, dtype=np.uint32),
        "blob/shape": np.full((count, 2), 64, np.uint32),
        "blob/psize_A": np.full(count, 1.06, np.float32),
        "blob/sign": np.full(count, -1, np.float32),
        "alignments3D/pose": floats(3), "alignments3D/shift": floats(2),
        "alignments3D/psize_A": np.full(count, 2.12, np.float32),
        "alignments3D/split": np.arange(count, dtype=np.uint32) % 2,
        "ctf/df1_A": floats(), "ctf/df_angle_rad": floats(), "ctf/tetra_A": floats(4),
        "ctf/anisomag": floats(4) / 100, "ctf/tilt_A": floats(2) * 1000,
        "location/micrograph_shape": np.full((count, 2), [4092, 5760], np.uint32),
        "location/center_x_frac": floats(), "location/center_y_frac": floats(),
        "ml/odd": np.where(floats() > 0, np.nan, floats()).astype(np.float32),
    }  # fmt: skip
    write_cs(folder / "a.cs", columns)
    converted(folder / "a.cs", folder / "b.star")
    converted(folder / "b.star", folder / "c.cs")
    columns_equal(folder / "a.cs", folder / "c.cs")


def test_layouts_of_star(star: Path, tmp_path: Path) -> None:
    converted(star, tmp_path / "old.star", layout="3.0")
    converted(tmp_path / "old.star", tmp_path / "new.star")
    files = (star, tmp_path / "old.star", tmp_path / "new.star")
    before, old, new = map(read_particles, files)
    assert not old.carried.has_optics and new.carried.has_optics
    frame = read_star(tmp_path / "old.star")[""].frame
    pixels = frame["rlnOriginX"].cast(float).to_numpy()
    np.testing.assert_allclose(pixels * before.optics[0].pixel_size, before.origin_x, atol=1e-5)
    assert old.optics[0].pixel_size == before.optics[0].pixel_size
    np.testing.assert_array_equal(new.defocus_u, before.defocus_u)
    for name, block in read_star(star).items():
        names = [n for n in block.frame.columns if n != "rlnImageName"]  # the table moved
        after = read_star(tmp_path / "new.star")[name].frame
        assert after.select(names).equals(block.frame.select(names))
    converted(tmp_path / "old.star", tmp_path / "upgraded.star", no_side=True)
    upgraded = read_particles(tmp_path / "upgraded.star", need_images=False)
    assert upgraded.carried.has_optics and upgraded.origin_x is not None
    np.testing.assert_allclose(upgraded.origin_x, before.origin_x, atol=1e-5)


def test_what_was_changed_since_comes_back(star: Path, tmp_path: Path) -> None:
    converted(star, tmp_path / "b.cs")
    side = tmp_path / "b.cs.side.parquet"
    assert side.is_file()
    edited = read_particles(tmp_path / "b.cs").take(np.array([7, 3, 30]))
    rot = edited.rot
    assert rot is not None
    moved = edited.with_fields(rot=rot + np.array([0.0, 5.0, 0.0]), half=np.array([1, 2, 1]))
    write_particles(tmp_path / "d.cs", moved)
    converted(tmp_path / "d.cs", tmp_path / "e.star", side=side)
    before = read_star(star)["particles"].frame[[7, 3, 30]]
    after = read_star(tmp_path / "e.star")["particles"].frame
    assert after["rlnRandomSubset"].to_list() == ["1", "2", "1"]
    assert after["rlnAngleRot"].to_list()[::2] == before["rlnAngleRot"].to_list()[::2]
    assert float(after["rlnAngleRot"][1]) == pytest.approx(rot[1] + 5, abs=1e-4)
    changed = ("rlnAngleRot", "rlnRandomSubset", "rlnImageName")
    others = [n for n in before.columns if n not in changed]
    assert after.select(others)[[0, 2]].equals(before.select(others)[[0, 2]])


def test_columns_added_since_travel_on(star: Path, tmp_path: Path) -> None:
    write_cs(tmp_path / "a.cs", cs_columns(star))
    converted(tmp_path / "a.cs", tmp_path / "b.star")
    blocks = read_star(tmp_path / "b.star")
    more = blocks["particles"].frame.with_columns(rlnNew=pl.lit("0.10"))
    write_star(tmp_path / "b.star", [blocks["optics"], blocks["particles"].with_frame(more)])
    result = converted(tmp_path / "b.star", tmp_path / "c.cs")
    assert result.side == tmp_path / "c.cs.side.parquet"
    columns_equal(tmp_path / "a.cs", tmp_path / "c.cs")
    converted(tmp_path / "c.cs", tmp_path / "d.star")
    blocks_equal(tmp_path / "b.star", tmp_path / "d.star")


def test_y_is_inverted_when_asked(star: Path, tmp_path: Path) -> None:
    columns = cs_columns(star) | {
        "location/micrograph_shape": np.full((40, 2), [1000, 2000], np.uint32),
        "location/center_x_frac": np.full(40, 0.25, np.float32),
        "location/center_y_frac": np.full(40, 0.125, np.float32),
    }
    write_cs(tmp_path / "a.cs", columns)
    for invert, y in ((False, 125.0), (True, 875.0)):
        converted(tmp_path / "a.cs", tmp_path / "b.star", invert_y=invert)
        found = read_particles(tmp_path / "b.star", need_images=False)
        assert found.x is not None and found.x[0] == 500.0
        assert found.y is not None and found.y[0] == y
        converted(tmp_path / "b.star", tmp_path / "c.cs", invert_y=invert)
        columns_equal(tmp_path / "a.cs", tmp_path / "c.cs")


def test_beam_tilt_is_coma_over_cs(star: Path, tmp_path: Path) -> None:
    """0.1 mrad at a Cs of 2.7 mm are 270 nm of coma, as microscopists reckon."""
    columns = cs_columns(star)
    columns["ctf/cs_mm"][:] = 2.7
    columns["ctf/tilt_A"] = np.tile(np.array([2700.0, -5400.0], np.float32), (40, 1))
    columns["ctf/trefoil_A"] = np.ones((40, 2), np.float32)
    write_cs(tmp_path / "a.cs", columns)
    found = read_particles(tmp_path / "a.cs", need_images=False)
    np.testing.assert_allclose(found.optics[0].beam_tilt, (0.1, -0.2), atol=1e-6)
    assert any("trefoil" in note for note in found.notes)


def test_anisotropic_magnification_is_stored_less_the_identity(star: Path, tmp_path: Path) -> None:
    columns = cs_columns(star) | {"ctf/anisomag": np.zeros((40, 4), np.float32)}
    columns["ctf/anisomag"][:, 1] = 0.01
    write_cs(tmp_path / "a.cs", columns)
    found = read_particles(tmp_path / "a.cs", need_images=False)
    assert found.optics[0].mag_matrix == (1.0, 0.01, 0.0, 1.0)


def test_what_cannot_be_converted_is_told(star: Path, tmp_path: Path) -> None:
    for options, words in (
        ({"out": tmp_path / "a.txt"}, "no format that is written"),
        ({"out": tmp_path / "a.cs", "invert_y": True}, "height of the micrographs|no column"),
        ({"out": tmp_path / "a.cs", "side": star}, "is no side table"),
        ({"out": star}, "is the input"),
    ):
        with pytest.raises(VitreousError, match=words):
            run_convert(ConvertConfig(particles=star, **options))
    assert not list(tmp_path.iterdir())


def test_uids_follow_the_image(star: Path, tmp_path: Path) -> None:
    converted(star, tmp_path / "a.cs")
    some = read_particles(star).take(np.array([5, 9, 5]))
    write_particles(tmp_path / "some.star", some)
    converted(tmp_path / "some.star", tmp_path / "b.cs")
    whole, part = read_cs(tmp_path / "a.cs")["uid"], read_cs(tmp_path / "b.cs")["uid"]
    assert part[:2].tolist() == whole[[5, 9]].tolist() and part[2] not in whole
    assert read_particles(tmp_path / "b.cs").has(ParticleSet.uid)


def test_places_are_drawn_on_the_micrograph(tmp_path: Path) -> None:
    """A picture is made, and a pixel of it is the mean of those that it stands for."""
    import mrcfile

    image = np.zeros((60, 100), np.float32)
    image[18:23, 68:73] = 1
    with mrcfile.new(tmp_path / "m.mrc") as file:
        file.set_data(image)
    table = pl.DataFrame(
        {"rlnImageName": ["1@p.mrcs"], "rlnMicrographName": ["m.mrc"], "rlnOpticsGroup": ["1"],
         "rlnCoordinateX": ["70"], "rlnCoordinateY": ["20"]}
    )  # fmt: skip
    write_star(
        tmp_path / "a.star",
        [StarBlock("optics", pl.DataFrame([OPTICS])), StarBlock("particles", table)],
    )
    from vitreous.report.picks import _binned, write_picks

    assert write_picks(tmp_path / "a.star", tmp_path / "p.png").read_bytes()[1:4] == b"PNG"
    small, step = _binned(np.arange(10.0 * 3204).reshape(10, 3204))
    assert step == 5 and small.shape == (2, 640) and small[0, 0] == 2 * 3204 + 2
