"""Movies and detectors' files, the commands motion and import, and what they refuse."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from movie_samples import PIXEL, drift, errors, sample, write_eer, write_mrc

from vitreous.config.movies import ImportConfig, MotionConfig
from vitreous.errors import InputError, OptionError
from vitreous.io.detector import read_defects, read_gain
from vitreous.io.movies import open_movie
from vitreous.io.star import read_star
from vitreous.jobs.micrographs.fractions import FrameChoice, read_fractions
from vitreous.jobs.micrographs.import_data import run_import_data
from vitreous.jobs.micrographs.motion import run_motion
from vitreous.particles.relion.coordinate_lists import read_coordinates
from vitreous.particles.relion.exposures import read_exposures
from vitreous.particles.relion.motion import read_tracks
from vitreous.report.validation import write_validation_report

tifffile = pytest.importorskip("tifffile")
RNG = np.random.default_rng(5)


def test_tiff_is_read_upside_down_and_mrc_as_it_is(tmp_path: Path) -> None:
    frames = RNG.integers(0, 9, (4, 10, 12)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "m.tif", frames, compression="lzw", photometric="minisblack")
    tiff = open_movie(tmp_path / "m.tif")
    mrc = open_movie(write_mrc(tmp_path / "m.mrcs", frames.astype(np.int16)))
    assert (len(tiff), tiff.height, tiff.width) == (4, 10, 12)
    for number in range(4):
        np.testing.assert_array_equal(tiff.frame(number)[::-1], frames[number])
        np.testing.assert_array_equal(mrc.frame(number), frames[number])


def test_movies_that_are_cut_off_are_refused(tmp_path: Path) -> None:
    frames = RNG.integers(0, 9, (6, 40, 50)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "m.tif", frames, compression="lzw", photometric="minisblack")
    whole = (tmp_path / "m.tif").read_bytes()
    with tifffile.TiffFile(tmp_path / "m.tif") as file:
        pages = [page.offset for page in file.pages]
    for cut in (0, 100, pages[3], pages[3] - 50, len(whole) - 20):
        (tmp_path / "cut.tif").write_bytes(whole[:cut])
        with pytest.raises(InputError, match=r"cut.tif: .*copy the file again"):
            movie = open_movie(tmp_path / "cut.tif")
            [movie.frame(number) for number in range(len(movie))]


def test_frames_of_another_size_are_refused(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "m.tif") as file:
        for side in (16, 16, 12):
            file.write(np.zeros((side, 16), np.uint8), photometric="minisblack")
    movie = open_movie(tmp_path / "m.tif")
    with pytest.raises(InputError, match=r"frame 3 of 3 has 16 x 12 pixels, the first has 16 x 16"):
        movie.frame(2)


@pytest.fixture
def eer(tmp_path: Path) -> tuple[Path, np.ndarray]:
    """A movie of events, and its frames at twice the resolution."""
    side, frames, truth = 32, [], np.zeros((12, 64, 64), int)
    for number in range(12):
        events = np.sort(RNG.choice(side * side, 60, replace=False))
        places = RNG.integers(0, 16, 60)
        frames.append((events, places))
        rows = 2 * (events // side) + (places >> 3)
        np.add.at(truth[number], (rows, 2 * (events % side) + ((places >> 1) & 1)), 1)
    return write_eer(tmp_path / "m.eer", side, frames), truth


def test_eer_frames_are_summed_by_dose(eer: tuple[Path, np.ndarray]) -> None:
    path, truth = eer
    movie = open_movie(path, superresolution=True)
    choice = FrameChoice(1, None, None, 3.0, fraction_dose=0.75, eer_frames=None)
    raw, doses, first = read_fractions(movie, choice)
    np.testing.assert_array_equal(raw, truth.reshape(4, 3, 64, 64).sum(1))
    np.testing.assert_allclose(doses, 0.75)
    assert first == 1
    plain, _, _ = read_fractions(open_movie(path), choice)
    np.testing.assert_array_equal(plain, raw.reshape(4, 32, 2, 32, 2).sum((2, 4)))


def test_eer_frames_that_make_no_whole_fractions_are_refused(eer: tuple[Path, np.ndarray]) -> None:
    movie = open_movie(eer[0])
    with pytest.raises(InputError, match=r"12 frames do not make whole fractions of 5: 2 are left"):
        read_fractions(movie, FrameChoice(1, None, None, None, 1.0, eer_frames=5))
    with pytest.raises(OptionError, match="summed to fractions by their dose, which is not given"):
        read_fractions(movie, FrameChoice(1, None, None, None, 1.0, None))


def test_detectors_files(tmp_path: Path) -> None:
    divisor = RNG.uniform(0.5, 2, (8, 10)).astype(np.float32)
    divisor[2, 3] = 0
    tifffile.imwrite(tmp_path / "a.gain", divisor)
    gain = read_gain(tmp_path / "a.gain")[::-1]
    assert gain[2, 3] == 0
    np.testing.assert_allclose(gain[divisor > 0] * divisor[divisor > 0], 1, rtol=1e-6)
    (tmp_path / "bad.txt").write_text("# x y w h\n2 1 3 2\n")
    found = read_defects(tmp_path / "bad.txt", (8, 10))
    assert found[1:3, 2:5].all() and found.sum() == 6
    (tmp_path / "bad.txt").write_text("2 1 three 2\n")
    with pytest.raises(InputError, match="line 1 is '2 1 three 2', expected x, y, width"):
        read_defects(tmp_path / "bad.txt", (8, 10))


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A job on a good movie as TIFF, the same as MRC, one that is empty and one that is cut off."""
    folder = tmp_path_factory.mktemp("motion")
    movie = sample(drift, (128, 160), 8)
    frames = movie.frames.astype(np.uint8)
    tifffile.imwrite(folder / "a.tif", frames[:, ::-1], photometric="minisblack")
    write_mrc(folder / "b.mrcs", movie.frames)
    write_mrc(folder / "c.mrcs", 0 * movie.frames)
    (folder / "d.mrcs").write_bytes((folder / "b.mrcs").read_bytes()[:-100])
    write_mrc(folder / "gain.mrc", np.ascontiguousarray(np.rot90(movie.gain)))
    names = ("a.tif", "b.mrcs", "c.mrcs", "d.mrcs")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run_import_data(
            ImportConfig(
                tuple(Path(name) for name in names),
                out=Path("import"),
                pixel_size=PIXEL,
                dose=1.5,
                gain=Path("gain.mrc"),
                voltage=200.0,
            )
        )
        table = Path("import/movies.star")
        run_motion(MotionConfig((table,), out=Path("job"), workers=1, local=True))
    return folder / "job"


def test_motion_writes_what_relion_reads(job: Path) -> None:
    found = json.loads((job / "result.json").read_text())
    assert found["micrographs"] == 2 and set(found["failed"]) == {"c.mrcs", "d.mrcs"}
    assert "all its frames are empty" in found["failed"]["c.mrcs"]
    assert "truncated" in found["failed"]["d.mrcs"]
    assert found["gain"][0]["orientation"] == "--gain-rotate 1 --gain-flip 0"
    table = read_exposures(job / "corrected_micrographs.star")
    assert table.names == ("job/micrographs/a.mrc", "job/micrographs/b.mrc")
    assert (table.optics[0].voltage, table.optics[0].micrograph_pixel_size) == (200.0, PIXEL)
    images = [mrcfile.read(job.parent / name).squeeze() for name in table.names]
    np.testing.assert_allclose(images[0], images[1], rtol=1e-5)
    curve, places, local = read_tracks(job / "micrographs" / "a.star")
    truth = drift(np.array(0.5), np.array(0.5), 1.0)  # the sign, and about how far
    assert np.abs(curve[-1] - curve[0] - (truth - drift(np.array(0.5), np.array(0.5), 0))).max() < 1
    assert len(places) == len(local) == 25
    general = read_star(job / "micrographs" / "a.star")["general"].frame
    assert general["rlnMicrographMovieName"].item() == "a.tif"
    assert float(general["rlnMicrographDoseRate"].item()) == 1.5
    page = write_validation_report(job).read_text()
    assert "2 movies corrected" in page and "c.mrcs" in page


@pytest.mark.skipif(shutil.which("relion_preprocess") is None, reason="RELION is not installed")
def test_relion_extracts_from_the_micrographs(job: Path) -> None:
    folder = job.parent
    star = "data_\nloop_\n_rlnCoordinateX\n_rlnCoordinateY\n60 50\n90 70\n"
    (job / "micrographs" / "a_pick.star").write_text(star)
    command = (
        "relion_preprocess --i job/corrected_micrographs.star --coord_dir ./ --coord_suffix "
        "_pick.star --part_star out.star --part_dir out --extract --extract_size 32"
    )
    subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)
    (job / "micrographs" / "a_pick.star").unlink()
    block = read_star(folder / "out.star")["particles"].frame
    assert block["rlnMicrographName"].to_list() == ["job/micrographs/a.mrc"] * 2


def test_a_wrong_gain_is_told(job: Path) -> None:
    folder = job.parent
    movies = (folder / "a.tif",)
    asked = {"out": folder / "x", "pixel_size": PIXEL, "workers": 1}
    with pytest.raises(OptionError, match=r"as given \(--gain-rotate 3 --gain-flip 0\) it leaves"):
        run_motion(MotionConfig(movies, gain=folder / "gain.mrc", gain_rotate=3, **asked))
    write_mrc(folder / "other.mrc", RNG.uniform(0.9, 1.1, (128, 160)).astype(np.float32))
    with pytest.raises(OptionError, match="in every orientation"):
        run_motion(MotionConfig(movies, gain=folder / "other.mrc", **asked))
    write_mrc(folder / "small.mrc", RNG.uniform(0.9, 1.1, (100, 160)).astype(np.float32))
    with pytest.raises(OptionError, match=r"has 160 x 100 pixels, but a.tif has 160 x 128"):
        run_motion(MotionConfig(movies, gain=folder / "small.mrc", **asked))
    assert not (folder / "x").exists()


def test_options_of_motion_that_make_no_sense(tmp_path: Path) -> None:
    movie = write_mrc(tmp_path / "a.mrcs", RNG.poisson(2, (5, 64, 64)).astype(np.int16))
    for options, said in (
        ({}, "--pixel-size: is needed"),
        ({"pixel_size": 1.0, "bin": 0.5}, "--bin: 0.5 is less than 1"),
        ({"pixel_size": 1.0, "dose": 1.0, "total_dose": 3.0}, "--total-dose: is given beside"),
        ({"pixel_size": 1.0, "last_frame": 9}, "has 5 frames, but 1 to 9 are asked for"),
    ):
        with pytest.raises((OptionError, InputError), match=said):
            run_motion(MotionConfig((movie,), out=tmp_path / "x", workers=1, **options))
    with pytest.raises(InputError, match="matches no file"):
        run_motion(MotionConfig((tmp_path / "*.tif",), out=tmp_path / "x", pixel_size=1.0))


def test_movies_are_imported_in_groups_by_their_names(tmp_path: Path) -> None:
    for name in ("a_Data_1_77_.tiff", "b_Data_2_78_.tiff", "c_Data_3_77_.tiff"):
        (tmp_path / name).touch()
    (tmp_path / "mtf.star").touch()
    found = run_import_data(
        ImportConfig(
            (tmp_path / "*.tiff",),
            out=tmp_path / "import",
            pixel_size=0.885,
            mtf=tmp_path / "mtf.star",
            groups_by=r"_Data_\d+_(\d+)_",
            beam_tilt_x=0.2,
        )
    )
    assert found.words == "3 movies"
    table = read_exposures(found.table)
    assert [table.optics[g].name for g in table.group] == [
        "opticsGroup1_77", "opticsGroup1_78", "opticsGroup1_77"
    ]  # fmt: skip
    assert table.optics[1].beam_tilt == (0.2, 0.0) and table.optics[0].pixel_size == 0.885


def _box(path: Path) -> None:
    path.write_text("8 16 4 4\n18 26 4 4\n")


def _csv(path: Path) -> None:
    path.write_text("X,Y,diameter\n10,18,4\n20,28,4\n")


def _star(path: Path) -> None:
    path.write_text("data_\nloop_\n_rlnCoordinateX\n_rlnCoordinateY\n10 18\n20 28\n")


@pytest.mark.parametrize(
    ("name", "write"), [("m_picks.box", _box), ("m.csv", _csv), ("m_autopick.star", _star)]
)
def test_coordinates_are_imported(tmp_path: Path, name: str, write: Callable[[Path], None]) -> None:
    write_mrc(tmp_path / "m.mrc", np.zeros((40, 50), np.float32))
    run_import_data(ImportConfig((tmp_path / "m.mrc",), out=tmp_path / "mics", pixel_size=2.0))
    write(tmp_path / name)
    asked = ImportConfig(
        (tmp_path / name,), out=tmp_path / "picks", micrographs=tmp_path / "mics/micrographs.star"
    )
    found = run_import_data(asked)
    assert found.words == "2 coordinates"
    listed = read_star(found.table)["coordinate_files"].frame
    assert listed["rlnMicrographName"].to_list() == [str(tmp_path / "m.mrc")]
    places = read_coordinates(Path(listed["rlnMicrographCoordinates"].item()))[None]
    np.testing.assert_allclose(places, [[10, 18], [20, 28]])


def test_coordinates_of_cryosparc_are_fractions_of_the_micrograph(tmp_path: Path) -> None:
    kinds = [("location/micrograph_path", "S20"), ("location/center_x_frac", "f4")]
    kinds += [("location/center_y_frac", "f4"), ("location/micrograph_shape", "u4", (2,))]
    table = np.array([(b"a/m.mrc", 0.25, 0.5, (40, 80)), (b"a/n.mrc", 0.5, 0.1, (40, 80))], kinds)
    with (tmp_path / "picks.cs").open("wb") as file:
        np.save(file, table)
    found = run_import_data(
        ImportConfig((tmp_path / "picks.cs",), out=tmp_path / "picks", kind="coordinates")
    )
    listed = read_star(found.table)["coordinate_files"].frame
    first = read_coordinates(Path(listed["rlnMicrographCoordinates"][0]))[None]
    np.testing.assert_allclose(first, [[20, 20]])


def test_errors_of_import(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="has the columns a, b, expected x and y"):
        run_import_data(ImportConfig((tmp_path / "m.csv",), out=tmp_path / "x"))
    (tmp_path / "m.xyz").touch()
    with pytest.raises(InputError, match="cannot be told by its suffix"):
        run_import_data(ImportConfig((tmp_path / "m.xyz",), out=tmp_path / "x"))
    assert not (tmp_path / "x").exists()


def test_errors_measures_distance() -> None:
    """The tests' own measure: a field that is the truth has no error."""
    places = np.array([0.2, 0.6])
    x, y = np.meshgrid(places, places)
    field = np.stack([drift(x, y, (t + 0.5) / 5) for t in range(5)])
    assert errors(field, drift, places) == pytest.approx(0)
    assert errors(2 * field, drift, places) > 0.5
