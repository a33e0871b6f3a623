"""cisTEM's, FREALIGN's and EMAN2's tables: conventions by hand, and cells that come back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from conftest import simulated
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vitreous.config.particles import ConvertConfig
from vitreous.errors import InputError, VitreousError
from vitreous.io.cistem import read_par
from vitreous.io.eman import read_lst
from vitreous.io.star import StarBlock, read_star, write_star
from vitreous.jobs.particles.convert import run_convert
from vitreous.math.rotations import euler_to_matrix
from vitreous.particles.eman import angles_to_matrix, listed_images, read_eman
from vitreous.particles.files import read_particles
from vitreous.particles.stack import open_images

PAR = """C FREALIGN parameter file
C           PSI   THETA     PHI       SHX       SHY     MAG  FILM      DF1      DF2  ANGAST     OCC      LogP      SIGMA   SCORE  CHANGE
      1   10.50   20.25   30.75      1.50     -2.25   10000     1  15000.1  14000.2   35.50  100.00     -1000     1.0000   20.00    0.50
      2  350.00   90.00  -45.00      0.00      3.00   10000     1  16000.0  15500.0  -12.00   50.00     -1100     1.1000   21.00    0.00
C overall statistics follow
"""  # noqa: E501


@pytest.fixture(scope="module")
def star(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulated(tmp_path_factory.mktemp("cis") / "data", 6, box=24, snr=1.0, seed=8)


def converted(source: Path, out: Path, **options) -> Path:
    run_convert(ConvertConfig(particles=source, out=out, overwrite=True, **options))
    return out


def test_frealigns_angles_are_relions_and_shifts_are_minus_origins(
    star: Path, tmp_path: Path
) -> None:
    (tmp_path / "a.par").write_text(PAR)
    stack = star.parent / "particles.mrcs"
    out = converted(tmp_path / "a.par", tmp_path / "b.star", stack=stack, pixel_size=2.0)
    found = read_particles(out)
    assert found.stacks == (stack,) and found.index_in_stack.tolist() == [0, 1]
    for name, values in {
        "psi": [10.5, 350.0], "tilt": [20.25, 90.0], "rot": [30.75, -45.0],
        "origin_x": [-1.5, 0.0], "origin_y": [2.25, -3.0],
        "defocus_u": [15000.1, 16000.0], "defocus_v": [14000.2, 15500.0],
        "defocus_angle": [35.5, -12.0],
    }.items():  # fmt: skip
        np.testing.assert_allclose(getattr(found, name), values, err_msg=name)
    assert found.optics[0].pixel_size == 2.0
    back = converted(out, tmp_path / "c.par")
    assert read_par(back).equals(read_par(tmp_path / "a.par"))


def test_cistems_table_and_back(star: Path, tmp_path: Path) -> None:
    there = converted(star, tmp_path / "a.star", layout="cistem")
    frame = read_star(there)[""].frame
    truth = read_particles(star)
    np.testing.assert_allclose(frame["cisTEMAnglePhi"].cast(float), truth.rot)
    np.testing.assert_allclose(frame["cisTEMXShift"].cast(float), -truth.origin_x)
    again = read_particles(converted(there, tmp_path / "b.star"))
    for name in ("rot", "tilt", "psi", "origin_x", "origin_y", "defocus_u", "defocus_angle"):
        np.testing.assert_allclose(getattr(again, name), getattr(truth, name), atol=1e-6)
    assert again.optics[0].pixel_size == truth.optics[0].pixel_size
    assert again.stacks == truth.stacks


CELL = st.floats(-180, 180, width=32).map(lambda x: f"{x:.3f}")


@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
@given(rows=st.lists(st.lists(CELL, min_size=8, max_size=8), min_size=1, max_size=4))
def test_cells_of_cistem_come_back(
    star: Path, tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]]
) -> None:
    folder = tmp_path_factory.mktemp("pair")
    names = ("AnglePsi", "AngleTheta", "AnglePhi", "XShift", "YShift", "Defocus1", "PhaseShift",
             "Future")  # fmt: skip
    frame = pl.DataFrame(rows, schema=[f"cisTEM{n}" for n in names], orient="row").with_columns(
        cisTEMPositionInStack=pl.Series([str(n + 1) for n in range(len(rows))]),
        cisTEMPixelSize=pl.lit("8.0"), cisTEMMicroscopeVoltagekV=pl.lit("300.00"),
        cisTEMStackFilename=pl.lit(str(star.parent / "particles.mrcs")),
    )  # fmt: skip
    write_star(folder / "a.star", [StarBlock("", frame)])
    converted(folder / "a.star", folder / "b.star")
    converted(folder / "b.star", folder / "c.star", layout="cistem")
    after = read_star(folder / "c.star")[""].frame
    assert after.select(frame.columns).equals(frame)
    converted(folder / "a.star", folder / "d.cs")
    converted(folder / "d.cs", folder / "e.star", layout="cistem")
    shifts = read_star(folder / "e.star")[""].frame["cisTEMXShift"].cast(float)
    np.testing.assert_allclose(shifts, frame["cisTEMXShift"].cast(float), atol=1e-4)


@pytest.mark.parametrize("name", ["b.star", "b.par"])
def test_relions_cells_come_back_from_cistem(star: Path, tmp_path: Path, name: str) -> None:
    layout = "cistem" if name.endswith(".star") else "3.1"
    there = converted(star, star.parent / name, layout=layout)
    more = {"stack": star.parent / "particles.mrcs"} if name.endswith(".par") else {}
    back = converted(there, star.parent / f"{name}_back.star", **more)
    for block, was in read_star(star).items():
        assert read_star(back)[block].frame.equals(was.frame)


def test_a_cistem_table_of_several_stacks(star: Path, tmp_path: Path) -> None:
    one = converted(star, tmp_path / "one.star", layout="cistem")
    (block,) = read_star(one).values()
    other = tmp_path / "other.mrcs"
    other.symlink_to(star.parent / "particles.mrcs")
    first = pl.Series([n % 3 > 0 for n in range(len(block.frame))])
    names = block.frame["cisTEMStackFilename"]
    names = names.zip_with(first, pl.Series([str(other)] * len(names)))
    frame = block.frame.with_columns(names.alias("cisTEMStackFilename"))
    write_star(tmp_path / "two.star", [block.with_frame(frame)])
    found = read_particles(converted(tmp_path / "two.star", tmp_path / "relion.star"))
    assert [found.stacks[k].name for k in found.stack_of] == [
        "particles.mrcs" if own else "other.mrcs" for own in first
    ]
    np.testing.assert_array_equal(found.index_in_stack, np.arange(len(found)))
    back = converted(tmp_path / "relion.star", tmp_path / "back.star", layout="cistem")
    (again,) = read_star(back).values()
    assert again.frame.equals(frame)


def test_emans_angles_are_relions_turned_by_a_right_angle() -> None:
    rng = np.random.default_rng(3)
    for rot, tilt, psi in rng.uniform(-180, 180, (20, 3)):
        angles = (torch.tensor(a, dtype=torch.float64) for a in (rot, tilt, psi))
        relion = euler_to_matrix(*angles).numpy()
        np.testing.assert_allclose(angles_to_matrix(rot + 90, tilt, psi - 90), relion, atol=1e-12)


def test_emans_list(star: Path, tmp_path: Path) -> None:
    stack = star.parent / "particles.mrcs"
    pose = '{"xform.projection": {"__class__": "Transform", "az": 120, "alt": 40, "phi": -60, "tx": 2, "ty": -1}, "class": 1}'  # noqa: E501
    lines = ["#LSX", "# comment", "#120", f"3\t{stack}\t{pose}", f"0\t{stack}\t{pose}"]
    (tmp_path / "a.lst").write_text("\n".join(lines) + "\n")
    assert [image.index for image in read_lst(tmp_path / "a.lst")] == [3, 0]
    found = read_particles(converted(tmp_path / "a.lst", tmp_path / "b.star"))
    assert found.index_in_stack.tolist() == [3, 0]
    np.testing.assert_allclose([found.rot[0], found.tilt[0], found.psi[0]], [30, 40, 30])
    np.testing.assert_allclose([found.origin_x[0], found.origin_y[0]], [-16, 8])
    assert found.class_number.tolist() == [2, 2]
    (tmp_path / "bad.lst").write_text("#LSX\nx\ty\n")
    with pytest.raises(InputError, match="line 2 is no number and file"):
        read_lst(tmp_path / "bad.lst")


def write_hdf(path: Path, images: np.ndarray, bits: int = 0) -> None:
    """As EMAN2 lays its files out, in packed whole numbers if ``bits`` are given."""
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        group = file.create_group("MDF/images")
        for number, image in enumerate(images):
            one = group.create_group(str(number))
            matrix = np.column_stack([angles_to_matrix(90, number * 10, -90), [0, 0, 0]])
            text = ",".join(f"{v:.9g}" for v in matrix.ravel())
            one.attrs["EMAN.xform.projection"] = f"[{text}]"
            one.attrs["EMAN.apix_x"] = np.float32(1.5)
            if bits:
                least, greatest = float(image.min()), float(image.max())
                one.attrs["EMAN.stored_renderbits"] = bits
                one.attrs["EMAN.stored_rendermin"] = least
                one.attrs["EMAN.stored_rendermax"] = greatest
                image = ((image - least) / (greatest - least) * (2**bits - 1)).round()
            one["image"] = image.astype(np.uint16 if bits else np.float32)


def test_emans_hdf(star: Path, tmp_path: Path) -> None:
    write_hdf(tmp_path / "a.hdf", np.zeros((3, 8, 8)))
    images = listed_images(tmp_path / "a.hdf")
    found = read_eman(tmp_path / "a.hdf", images, star.parent / "particles.mrcs", None)
    np.testing.assert_allclose(found.tilt, [0, 10, 20], atol=1e-5)
    with pytest.raises(InputError, match="not read or not there"):
        read_eman(tmp_path / "a.hdf", images, None, None)


@pytest.mark.parametrize("bits", [0, 12])
def test_images_of_emans_hdf_are_written_as_mrc(tmp_path: Path, bits: int) -> None:
    pixels = np.random.default_rng(2).normal(size=(3, 16, 16)).astype(np.float32)
    write_hdf(tmp_path / "a.hdf", pixels, bits)
    step = np.ptp(pixels) / 2**bits if bits else 0
    whole = read_particles(converted(tmp_path / "a.hdf", tmp_path / "whole.star"))
    assert whole.optics[0].pixel_size == 1.5
    np.testing.assert_allclose(whole.tilt, [0, 10, 20], atol=1e-5)
    np.testing.assert_allclose(open_images(whole).read(np.arange(3)), pixels, atol=step)
    (tmp_path / "a.lst").write_text("#LSX\n#\n#9\n2\ta.hdf\n0\ta.hdf\n")
    listed = read_particles(converted(tmp_path / "a.lst", tmp_path / "some.cs"))
    np.testing.assert_allclose(open_images(listed).read(np.arange(2)), pixels[[2, 0]], atol=step)
    with pytest.raises(VitreousError, match="is there already"):
        run_convert(ConvertConfig(tmp_path / "a.lst", out=tmp_path / "some.star"))


def test_emans_images_that_cannot_be_used(tmp_path: Path) -> None:
    write_hdf(tmp_path / "a.hdf", np.zeros((2, 8, 6)))
    with pytest.raises(VitreousError, match=r"a\.hdf: image 0 is not read: .*shape \(8, 6\)"):
        converted(tmp_path / "a.hdf", tmp_path / "b.star")
    (tmp_path / "a.lst").write_text("#LSX\n#\n#9\n7\ta.hdf\n")
    with pytest.raises(VitreousError, match=r"a\.hdf: image 7 is not there"):
        converted(tmp_path / "a.lst", tmp_path / "b.star")
    assert not list(tmp_path.glob("b*"))


def test_what_tables_lack_is_told(star: Path, tmp_path: Path) -> None:
    (tmp_path / "a.par").write_text(PAR)
    with pytest.raises(VitreousError, match="names no image stack"):
        converted(tmp_path / "a.par", tmp_path / "b.star")
    (tmp_path / "a.par").write_text(PAR + "1 2 3\n")
    with pytest.raises(VitreousError, match=r"line 6 has 3 values, expected 16"):
        converted(tmp_path / "a.par", tmp_path / "b.star")
