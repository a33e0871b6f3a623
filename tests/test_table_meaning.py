"""What a particle table's columns and names say: obeyed by every job, or refused by all."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import mrcfile
import numpy as np
import polars as pl
import pytest
import torch
from conftest import simulated

from vitreous.config.ctf import CtfRefineConfig
from vitreous.config.maps import ReconstructConfig
from vitreous.config.particles import Criteria, SelectConfig, SubtractConfig
from vitreous.engine.images import CtfMode, optics_of, particle_ctf
from vitreous.engine.recorded import as_recorded
from vitreous.errors import InputError
from vitreous.io.mrc import open_stack, read_map, stack_writer, write_map
from vitreous.io.star import read_star, write_star
from vitreous.jobs.ctf.ctf_refine import run_ctf_refine
from vitreous.jobs.maps.reconstruct import run_reconstruct
from vitreous.jobs.particles.select import run_select
from vitreous.jobs.particles.steps import select
from vitreous.jobs.particles.subtract import run_subtract
from vitreous.particles.files import read_particles, write_particles
from vitreous.particles.micrographs import coordinate_pixels
from vitreous.particles.particle_set import ParticleSet
from vitreous.particles.stack import open_images
from vitreous.validate.fsc import fsc

Relion = Callable[[str], str]
BOX, PIXEL, COUNT = 48, 5.0, 300


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("meaning") / "data"
    return simulated(folder, COUNT, box=BOX, pixel_size=PIXEL, snr=0.3, seed=5)


def rewritten(star: Path, name: str, optics: dict | None = None, **columns: object) -> Path:
    """The same particles with other columns in either block: one value, or one for each."""
    blocks = read_star(star)
    for block, new in (("optics", optics or {}), ("particles", columns)):
        frame = blocks[block].frame
        for label, values in new.items():
            many = values if isinstance(values, list) else [values] * len(frame)
            frame = frame.with_columns(pl.Series(label, [str(v) for v in many]))
        blocks[block] = blocks[block].with_frame(frame)
    write_star(star.parent / name, blocks.values())
    return star.parent / name


# ---- numbers as text


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Twelve images of two optics groups in a stack, on two micrographs."""
    with stack_writer(tmp_path / "p.mrcs", 16, 12, 4.0) as out:
        out.append(np.random.default_rng(0).normal(size=(12, 16, 16)).astype(np.float32))
    rows = "".join(
        f"{n + 1}@p.mrcs {1 + n % 2} {1 + n % 2} {100 * n} 50 m{n % 2}.mrc\n" for n in range(12)
    )
    names = ("ImageName", "OpticsGroup", "RandomSubset", "CoordinateX", "CoordinateY")
    head = "".join(f"_rln{name}\n" for name in (*names, "MicrographName"))
    optics = (
        "data_optics\nloop_\n_rlnOpticsGroup\n_rlnOpticsGroupName\n_rlnImagePixelSize\n"
        "_rlnImageSize\n_rlnVoltage\n1 a 4.0 16 300\n2 b 4.0 16 200\n\n"
    )
    star = tmp_path / "p.star"
    star.write_text(f"{optics}data_particles\nloop_\n{head}{rows}")
    return star


@pytest.mark.parametrize("one,two", [("1", "2"), ("1.000000", "2.000000"), ("1e0", "20e-1")])
def test_whole_numbers_may_be_written_as_reals(small: Path, one: str, two: str) -> None:
    star = rewritten(small, "q.star", rlnOpticsGroup=[one, two] * 6, rlnRandomSubset=[one, two] * 6)
    table = read_particles(rewritten(star, "r.star", {"rlnImageSize": f"{16:.6f}"}))
    assert [g.box for g in table.optics] == [16, 16]
    assert table.group.tolist() == [0, 1] * 6
    assert table.half.tolist() == [1, 2] * 6
    for condition in ("rlnVoltage > 250", "rlnOpticsGroupName == 'a'", "rlnOpticsGroup == 1"):
        kept = select(table, Criteria(where=(condition,))).table
        assert kept.index_in_stack.tolist() == [0, 2, 4, 6, 8, 10]
    cut = table.with_boxes({1: 12}).written.frames[0]
    assert cut["rlnImageSize"].to_list() == ["12", f"{16:.6f}"]


@pytest.mark.parametrize(
    "column,cell,words",
    [
        ("rlnOpticsGroup", "1.5", "_rlnOpticsGroup, row 1 holds '1.5', expected a whole number"),
        ("rlnOpticsGroup", "x", "_rlnOpticsGroup, row 1 holds 'x'"),
        ("rlnCtfDataArePhaseFlipped", "maybe", "row 1 holds 'maybe', expected 1 or 0"),
        ("rlnCtfDataArePhaseFlipped", "2", "row 1 holds '2', expected 1 or 0"),
        ("rlnCtfBfactor", "nan", "_rlnCtfBfactor, row 1 holds 'nan'"),
    ],
)
def test_cells_that_hold_something_else(small: Path, column: str, cell: str, words: str) -> None:
    cells = [cell, *["1"] * 11]
    with pytest.raises(InputError, match=words):
        read_particles(rewritten(small, "q.star", **{column: cells}))


def test_truths_are_read_however_they_are_written(small: Path) -> None:
    cells = ["1", "0", "true", "False", "1.000000", "0.0", "T", "f", "Yes", "no", "1e0", "TRUE"]
    table = read_particles(rewritten(small, "q.star", rlnCtfDataArePhaseFlipped=cells))
    wanted = [c[0].lower() in "1ty" for c in cells]
    assert table.phase_flipped.tolist() == wanted
    assert table.state.flipped.tolist() == wanted


# ---- names


@pytest.mark.parametrize("folder", ["user@lab", "a@b@c", "caf\u00e9", "with space"])
def test_folders_with_odd_names(small: Path, folder: str, tmp_path: Path) -> None:
    (tmp_path / folder).mkdir()
    (tmp_path / "p.mrcs").rename(tmp_path / folder / "p@1.mrcs")
    names = [f"{n + 1}@{folder}/p@1.mrcs" for n in range(12)]
    star = rewritten(small, "q.star", rlnImageName=names)
    assert open_images(read_particles(star)).read(np.array([3])).shape == (1, 16, 16)
    (tmp_path / "out").mkdir()
    write_particles(tmp_path / "out" / "q.star", read_particles(star))
    assert read_particles(tmp_path / "out" / "q.star").image_name[3] == names[3]


def test_names_that_are_not_utf8(small: Path, tmp_path: Path) -> None:
    latin = os.fsdecode("Mikrobe_\u00e9".encode("latin-1"))
    (tmp_path / latin).mkdir()
    (tmp_path / "p.mrcs").rename(tmp_path / latin / "p.mrcs")
    text = small.read_bytes().replace(b"@p.mrcs", b"@Mikrobe_\xe9/p.mrcs")
    small.write_bytes(text)
    table = read_particles(small)
    assert open_images(table).read(np.array([0])).shape == (1, 16, 16)
    write_particles(tmp_path / "again.star", table)
    assert (tmp_path / "again.star").read_bytes().count(b"@Mikrobe_\xe9/p.mrcs") == 12
    elsewhere = tmp_path / "elsewhere" / "deep"
    elsewhere.mkdir(parents=True)
    (tmp_path / latin).rename(elsewhere / latin)
    small.rename(elsewhere / "x.star")
    found = read_particles(elsewhere / "x.star")
    write_particles(tmp_path / "far.star", found)  # absolute, with the byte in it
    assert read_particles(tmp_path / "far.star").stacks[0].samefile(found.stacks[0])


@pytest.mark.parametrize("beside", ["link", "target"])
def test_a_star_file_that_is_a_link(small: Path, tmp_path: Path, beside: str) -> None:
    link = tmp_path / "project" / "job" / "p.star"
    link.parent.mkdir(parents=True)
    link.symlink_to(small)
    if beside == "link":
        (tmp_path / "p.mrcs").rename(tmp_path / "project" / "p.mrcs")
    assert read_particles(link).stacks[0].name == "p.mrcs"


@pytest.mark.parametrize("name", ["Particles", "PARTICLES", "images", "", "whatever"])
def test_the_block_of_particles_by_any_name(small: Path, name: str) -> None:
    text = small.read_text().replace("data_particles", f"data_{name}")
    small.write_text("# XMIPP_STAR_1 *\n#\n" + text.replace("data_optics", "data_Optics"))
    table = read_particles(small)
    assert len(table) == 12 and len(table.optics) == 2
    write_particles(small.parent / "again.star", table)
    assert list(read_star(small.parent / "again.star")) == ["Optics", name]


def test_two_blocks_that_may_be_the_particles(small: Path) -> None:
    text = small.read_text().replace("data_particles", "data_x")
    small.write_text(text + "\ndata_y\nloop_\n_rlnImageName\n1@p.mrcs\n")
    with pytest.raises(InputError, match="several blocks with a column _rlnImageName"):
        read_particles(small)


def test_pixel_size_from_the_stacks_header_is_told(small: Path, tmp_path: Path) -> None:
    text = small.read_text().replace("_rlnImagePixelSize", "_other")
    small.write_text(text)
    table = read_particles(small)
    assert [g.pixel_size for g in table.optics] == [4.0, 4.0]
    assert "4 A/px was taken from the header of p.mrcs" in table.notes[0]
    found = run_select(SelectConfig(small, out=tmp_path / "s.star", random=3))
    assert any("from the header" in words for words in found.warnings)
    with mrcfile.open(tmp_path / "p.mrcs", "r+") as file:
        file.voxel_size = 0
    with pytest.raises(InputError, match="has no pixel size"):
        read_particles(small)


# ---- what is no single projection


def volume_file(path: Path) -> None:
    write_map(path, np.random.default_rng(0).normal(size=(16, 16, 16)).astype(np.float32), 4.0)


def single_file(path: Path) -> None:
    with mrcfile.new(path) as file:
        file.set_data(np.random.default_rng(0).normal(size=(16, 16)).astype(np.float32))


@pytest.mark.parametrize(
    "make,name,optics,columns,before,words",
    [
        (volume_file, "v.mrc", {}, {}, "", "the file holds 16 sections"),
        (None, "p.mrcs", {}, {}, "", "the file holds 12 images"),
        (None, "1@p.mrcs", {"rlnImageDimensionality": "3"}, {}, "", "rlnImageDimensionality is 3"),
        (None, "p.mrcs", {}, {"rlnTomoName": "ts"}, "", "_rlnTomoName is there"),
        (None, "1@p.mrcs", {}, {}, "data_general\n_rlnTomoSubTomosAre2DStacks 1\n", "tilt series"),
        (single_file, "one.mrc", {}, {"rlnIsFlip": "1"}, "", "to be mirrored"),
    ],
)
@pytest.mark.parametrize("need_images", [True, False])
def test_subtomograms_are_refused(
    small: Path, make, name: str, optics: dict, columns: dict, before: str, words: str,
    need_images: bool,
) -> None:  # fmt: skip
    if make is not None:
        make(small.parent / name)
    star = rewritten(small, "q.star", optics, rlnImageName=name, **columns)
    star.write_text(before + star.read_text())
    with pytest.raises(InputError, match=words):
        read_particles(star, need_images=need_images)


def test_a_file_of_one_image_needs_no_number(small: Path, tmp_path: Path) -> None:
    single_file(tmp_path / "one.mrc")
    star = rewritten(small, "q.star", rlnIsFlip="0", rlnImageName="one.mrc")
    table = read_particles(star)
    assert open_images(table).read(np.array([5])).shape == (1, 16, 16)
    (tmp_path / "deep").mkdir()
    (tmp_path / "one.mrc").rename(tmp_path / "deep" / "one.mrc")
    star.rename(tmp_path / "deep" / "q.star")
    write_particles(tmp_path / "far.star", read_particles(tmp_path / "deep" / "q.star"))
    name = read_star(tmp_path / "far.star")["particles"].frame["rlnImageName"][0]
    assert name == str((tmp_path / "deep" / "one.mrc").resolve())


# ---- micrographs' pixels


@pytest.mark.parametrize("order", [("1", "2"), ("2", "1")])
def test_coordinates_are_in_pixels_of_their_own_group(small: Path, order: tuple) -> None:
    sizes = {"1": 1.5, "2": 3.0}
    optics = {"rlnOpticsGroup": list(order), "rlnMicrographPixelSize": [sizes[n] for n in order]}
    table = read_particles(rewritten(small, "q.star", optics))
    found = coordinate_pixels(table)
    assert found.sizes.tolist() == [1.5, 3.0] * 6
    assert "1.5 and 3 A, by _rlnMicrographPixelSize" in found.words
    # Neighbours on a micrograph are 200 px apart: 300 A in group 1, 600 A in group 2.
    kept = select(table, Criteria(min_distance=400.0))
    assert kept.table.group.tolist().count(0) == 3 and kept.table.group.tolist().count(1) == 6
    assert found.words in kept.steps[-1].what


def test_a_group_without_particles_tells_nothing(small: Path) -> None:
    text = small.read_text().replace("1 a 4.0", "7 z 9.0 16 300\n1 a 4.0")
    small.write_text(text)
    optics = {"rlnMicrographPixelSize": [9.0, 1.5, 3.0]}
    table = read_particles(rewritten(small, "q.star", optics))
    assert coordinate_pixels(table).sizes.tolist() == [1.5, 3.0] * 6
    only_second = table.take(np.arange(1, 12, 2))
    assert set(coordinate_pixels(only_second).sizes) == {3.0}


def test_a_particles_own_row_counts_before_its_group(small: Path) -> None:
    own = [1.0 + n / 10 for n in range(12)]
    star = rewritten(small, "q.star", {"rlnMicrographPixelSize": 9.0}, rlnMicrographPixelSize=own)
    np.testing.assert_allclose(coordinate_pixels(read_particles(star)).sizes, own)


def test_binned_movies_do_not_tell_the_micrographs_pixel(small: Path, tmp_path: Path) -> None:
    optics = {"rlnMicrographOriginalPixelSize": 1.0}
    table = read_particles(rewritten(small, "q.star", optics))
    doubt = coordinate_pixels(table).doubt
    assert doubt is not None and "may have been binned" in doubt
    with pytest.raises(InputError, match="pass that of the micrographs as --coordinate-pixel-size"):
        select(table, Criteria(min_distance=100.0))
    select(table, Criteria(min_distance=100.0, coordinate_pixel_size=2.0))
    for n in range(2):  # the micrographs themselves say it
        write_map(tmp_path / f"m{n}.mrc", np.zeros((1, 8, 8), np.float32), 2.0)
    found = coordinate_pixels(table)
    assert found.doubt is None and set(found.sizes) == {2.0}
    same = read_particles(rewritten(small, "r.star", {"rlnMicrographOriginalPixelSize": 4.0}))
    assert coordinate_pixels(same).doubt is None


# ---- the CTF


def closed_form(table: ParticleSet, metric: np.ndarray) -> np.ndarray:
    """CTF by the formula of the conventions, in numpy; frequencies (x, y) in 1/angstrom."""
    group = table.optics[0]
    volts = group.voltage * 1e3
    wave = 12.2643247 / np.sqrt(volts * (1 + volts * 0.978466e-6))
    k2 = (metric**2).sum(-1)
    u, v, angle = (
        np.asarray(c)[:, None, None]
        for c in (table.defocus_u, table.defocus_v, table.defocus_angle)
    )
    azimuth = np.arctan2(metric[..., 1], metric[..., 0])
    along = (u + v) / 2 + (u - v) / 2 * np.cos(2 * (azimuth - np.deg2rad(angle)))
    phase = np.pi * wave * along * k2 - np.pi / 2 * group.cs * 1e7 * wave**3 * k2**2
    return np.sin(phase + np.arcsin(group.amplitude_contrast))


def full_plane(box: int, pixel: float) -> np.ndarray:
    axis = np.fft.fftfreq(box, pixel)
    return np.stack(np.meshgrid(axis, axis), axis=-1)


@pytest.mark.parametrize("place", ["optics", "row"])
def test_scale_and_bfactor_as_relion(
    stack: Path, tmp_path: Path, relion: Relion, place: str
) -> None:
    cells = {"rlnCtfScalefactor": "0.7", "rlnCtfBfactor": "150"}
    images = {}
    for name, told in (("plain", {}), ("damped", cells)):
        optics, columns = (told, {}) if place == "optics" else ({}, told)
        star = rewritten(stack, f"{place}_{name}.star", optics, **columns)
        command = (relion("relion_project"), "--i", "truth.mrc", "--o", tmp_path / name, "--ang")
        options = (star.name, "--ctf", "--angpix", str(PIXEL))
        subprocess.run([*command, *options], cwd=stack.parent, check=True, capture_output=True)
        images[name] = np.fft.fft2(mrcfile.read(tmp_path / f"{name}.mrcs"))
    table = read_particles(stack.parent / f"{place}_damped.star")
    metric = full_plane(BOX, PIXEL)
    points, rows = torch.from_numpy(metric).float(), np.arange(COUNT)
    ours = particle_ctf(table, rows, optics_of(table.optics[0]), points, CtfMode()).numpy()
    inside = np.linalg.norm(metric, axis=-1) < 0.8 / (2 * PIXEL)
    theirs = closed_form(table, metric)[:, inside] * 0.7
    theirs = theirs * np.exp(-150 / 4 * (metric**2).sum(-1))[inside]
    np.testing.assert_allclose(ours[:, inside], theirs, atol=2e-3)
    damped, plain = (images[name][:, inside] for name in ("damped", "plain"))
    factor = 0.7 * np.exp(-150 / 4 * (metric**2).sum(-1))[inside]
    assert np.abs(damped - plain * factor).max() < 1e-3 * np.abs(plain).max()


def changed(star: Path, name: str, factor: Callable[[np.ndarray], np.ndarray], **told: int) -> Path:
    """The images multiplied in Fourier space by a function of their CTF, and a flag for that."""
    table = read_particles(star)
    ctf = closed_form(table, full_plane(BOX, PIXEL))
    images = open_stack(table.stacks[0]).read(table.index_in_stack)
    made = np.fft.ifft2(np.fft.fft2(images) * factor(ctf)).real.astype(np.float32)
    with stack_writer(star.parent / f"{name}.mrcs", BOX, len(made), PIXEL) as out:
        out.append(made)
    names = [f"{n + 1}@{name}.mrcs" for n in range(len(made))]
    return rewritten(star, f"{name}.star", told, rlnImageName=names)


@pytest.fixture(scope="module")
def multiplied(stack: Path) -> Path:
    return changed(stack, "multiplied", lambda ctf: ctf, rlnCtfDataAreCtfPremultiplied=1)


@pytest.fixture(scope="module")
def flipped(stack: Path) -> Path:
    return changed(stack, "flipped", np.sign, rlnCtfDataArePhaseFlipped=1)


def reconstructed(star: Path, out: Path, **options) -> torch.Tensor:
    job = run_reconstruct(ReconstructConfig(star, out=out, halves="none", **options))
    return torch.from_numpy(read_map(job / "map.mrc")[0])


@pytest.mark.parametrize("kind", ["multiplied", "flipped"])
def test_the_flags_alone_lead_to_the_map_of_the_images_as_recorded(
    kind: str, stack: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    plain = reconstructed(stack, tmp_path / "plain")
    ours = reconstructed(request.getfixturevalue(kind), tmp_path / kind)
    assert fsc(ours, plain)[1:22].min() > 0.99
    assert float(ours.std() / plain.std()) == pytest.approx(1, abs=0.02)


def test_mixed_states_in_one_optics_group(stack: Path, multiplied: Path, tmp_path: Path) -> None:
    """Each image's own row counts: every other one was multiplied."""
    even = [n % 2 for n in range(COUNT)]
    names = [f"{n + 1}@{'multiplied' if n % 2 else 'particles'}.mrcs" for n in range(COUNT)]
    star = rewritten(stack, "mixed.star", rlnImageName=names, rlnCtfDataAreCtfPremultiplied=even)
    plain, ours = (reconstructed(s, tmp_path / s.stem) for s in (stack, star))
    assert fsc(ours, plain)[1:22].min() > 0.99


def test_premultiplied_by_relion(stack: Path, tmp_path: Path, relion: Relion) -> None:
    star = rewritten(stack, "scaled.star", rlnCtfScalefactor=0.8, rlnCtfBfactor=100)
    line = (relion("relion_ctf_toolbox"), "--i", star.name, "--o", "toolbox")
    subprocess.run(line, cwd=stack.parent, check=True, capture_output=True)
    told = {"rlnCtfDataAreCtfPremultiplied": 1}
    theirs = rewritten(stack.parent / "scaled_toolbox.star", "told.star", told)
    plain, ours = (reconstructed(s, tmp_path / s.stem) for s in (star, theirs))
    assert fsc(ours, plain)[1:20].min() > 0.99
    line = (relion("relion_reconstruct"), "--i", "told.star", "--o", "theirs.mrc", "--ctf")
    subprocess.run(line, cwd=stack.parent, check=True, capture_output=True)
    relions = torch.from_numpy(read_map(stack.parent / "theirs.mrc")[0])
    truth = torch.from_numpy(read_map(stack.parent / "truth.mrc")[0])
    assert fsc(ours, truth)[1:20].mean() > fsc(relions, truth)[1:20].mean() - 0.01


def test_searches_get_premultiplied_images_as_recorded(stack: Path, multiplied: Path) -> None:
    rows = np.arange(20)
    plain, table = read_particles(stack), read_particles(multiplied)
    wanted = np.fft.fft2(open_images(plain).read(rows))
    found = np.fft.fft2(as_recorded(open_images(table), ctf=True).read(rows))
    metric = full_plane(BOX, PIXEL)
    sure = np.abs(closed_form(plain, metric)[:20]) > 0.11
    sure &= np.abs(metric).max(axis=-1) < 0.99 / (2 * PIXEL)  # one of a pair stands for both there
    assert sure.mean() > 0.8
    assert np.abs(found - wanted)[sure].max() < 0.02 * np.abs(wanted).std()
    assert as_recorded(open_images(table), ctf=False).read(rows[:1]).std() < 0.9


def part_mask(folder: Path) -> Path:
    z, y, x = np.indices((BOX, BOX, BOX)) - BOX // 2
    away = np.sqrt((z + 4) ** 2 + (y - 3) ** 2 + (x - 4) ** 2)
    write_map(folder / "keep.mrc", np.clip((9 - away) / 3, 0, 1).astype(np.float32), PIXEL)
    return folder / "keep.mrc"


def test_subtraction_from_premultiplied_images(
    stack: Path, multiplied: Path, tmp_path: Path
) -> None:
    """It commutes with the multiplication, and the images stay multiplied."""
    images = []
    for star in (stack, multiplied):
        config = SubtractConfig(
            star, out=tmp_path / star.stem, map=stack.parent / "truth.mrc",
            mask=part_mask(tmp_path), greyscale="absolute",
        )  # fmt: skip
        done = read_particles(run_subtract(config).star)
        images.append(open_images(done).read(np.arange(COUNT)))
    assert done.state.premultiplied.all()
    ctf = closed_form(done, full_plane(BOX, PIXEL))
    wanted = np.fft.ifft2(np.fft.fft2(images[0]) * ctf).real
    held = np.linalg.norm(full_plane(BOX, PIXEL), axis=-1) < 0.9 / (2 * PIXEL)
    difference = np.fft.fft2(images[1] - wanted)[:, held]
    assert np.abs(difference).std() < 0.01 * np.abs(np.fft.fft2(wanted))[:, held].std()


def ctf_refined(star: Path, out: Path, truth: Path) -> tuple[ParticleSet, dict]:
    config = CtfRefineConfig(star, out=out, map=truth, defocus=True)
    job = run_ctf_refine(config)
    return read_particles(job / "particles.star"), json.loads((job / "result.json").read_text())


def test_defocus_of_flipped_images_is_left_where_it_is_true(
    stack: Path, flipped: Path, tmp_path: Path
) -> None:
    truth = stack.parent / "truth.mrc"
    plain, _ = ctf_refined(stack, tmp_path / "plain", truth)
    table, record = ctf_refined(flipped, tmp_path / "flipped", truth)
    np.testing.assert_allclose(table.defocus_u, plain.defocus_u, atol=10)
    assert any("stay flipped" in words for words in record["warnings"])


def test_ctf_refinement_refuses_premultiplied_images(
    stack: Path, multiplied: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="multiplied by their CTF"):
        ctf_refined(multiplied, tmp_path / "job", stack.parent / "truth.mrc")


def test_flipped_and_multiplied_at_once(small: Path) -> None:
    flags = {"rlnCtfDataArePhaseFlipped": 1, "rlnCtfDataAreCtfPremultiplied": 1}
    with pytest.raises(InputError, match="has both"):
        read_particles(rewritten(small, "q.star", flags))
