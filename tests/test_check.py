"""The pre-flight check: each fault is found where it was put, and nowhere else."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import mrcfile
import numpy as np
import polars as pl
import pytest
import torch
from conftest import simulated
from loader_samples import cached

from vitreous.cli.particles import check as command
from vitreous.config.particles import CheckConfig
from vitreous.config.simulate import SimulateConfig
from vitreous.engine.contrast import contrast_score
from vitreous.engine.images import CtfMode, working_frame
from vitreous.engine.rings import load_rings
from vitreous.errors import VitreousError
from vitreous.imaging.ctf import Optics, delocalisation, electron_wavelength
from vitreous.imaging.map_grid import extent
from vitreous.io.models import read_model
from vitreous.io.mrc import read_map, stack_writer, write_map
from vitreous.io.star import read_star, write_star
from vitreous.jobs.check.check import run_check
from vitreous.jobs.check.preflight import Preflight
from vitreous.jobs.check.sample import read_sample
from vitreous.jobs.simulate import run_simulate, simulate_from
from vitreous.math.fourier import frequency_radius, to_fourier
from vitreous.particles.files import read_particles
from vitreous.particles.grid import common_grid
from vitreous.particles.stack import open_images
from vitreous.runs.folder import ignore
from vitreous.validate.particles.correction import ctf_correction
from vitreous.validate.particles.duplicates import nearest, repeats
from vitreous.validate.particles.spectra import (
    ImageSpectra,
    half_plane,
    radial_spectrum,
    spectrum_at,
)
from vitreous.validate.particles.views import main_axis_share

COLUMNS = ("rlnCoordinateX", "rlnCoordinateY", "rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")
"""Drawn at random by the simulation, so that now and then two picks are too near."""


def altered(
    star: Path,
    folder: Path,
    images: Callable[[np.ndarray], np.ndarray] = lambda i: i,
    particles: Callable[[pl.DataFrame], pl.DataFrame] = lambda f: f,
    optics: Callable[[pl.DataFrame], pl.DataFrame] = lambda f: f,
    header: float | None = None,
) -> Path:
    """A copy of a stack with its images, columns or the header's pixel size changed."""
    blocks = read_star(star)
    blocks["particles"] = blocks["particles"].with_frame(particles(blocks["particles"].frame))
    blocks["optics"] = blocks["optics"].with_frame(optics(blocks["optics"].frame))
    folder.mkdir()
    with mrcfile.open(star.with_name("particles.mrcs")) as file:
        stack, pixel = images(file.data.copy()), header or float(file.voxel_size.x)
    with stack_writer(folder / "particles.mrcs", stack.shape[-1], len(stack), pixel) as out:
        out.append(stack)
    write_star(folder / "particles.star", blocks.values())
    return folder / "particles.star"


def check(star: Path, **options) -> Preflight:
    return run_check(CheckConfig(star, **options))


def levels(found: Preflight) -> dict[str, str]:
    return {finding.code: finding.level for finding in found.findings}


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stack that nothing is wrong with."""
    folder = tmp_path_factory.mktemp("clean")
    star = simulated(folder / "simulated", 500, 64, 4.0, snr=0.3, seed=1, shift=1.0)
    return altered(star, folder / "clean", particles=lambda f: f.drop(COLUMNS))


@pytest.fixture(scope="module")
def spectra(clean: Path) -> ImageSpectra:
    table = read_particles(clean)
    return read_sample(table, open_images(table)).spectra


# Measurements --------------------------------------------------------------------------------


def test_spectra_are_those_of_the_centred_transform() -> None:
    images = torch.randn(3, 20, 20, generator=torch.Generator().manual_seed(0))
    points = half_plane(9)
    index = points.long() + 10
    wanted = to_fourier(images, 2)[:, index[:, 1], index[:, 0]]
    torch.testing.assert_close(spectrum_at(images, points), wanted)
    both = {tuple(p) for p in points.tolist()} | {tuple(p) for p in (-points).tolist()}
    inside = (frequency_radius(21, 2) <= 9).sum() - 1
    assert len(both) == 2 * len(points) == inside


def test_radial_spectrum_of_gaussians_under_known_ctfs() -> None:
    generator = torch.Generator().manual_seed(0)
    points = half_plane(12)
    transfer = torch.empty(500, len(points)).uniform_(-1, 1, generator=generator)
    shape = torch.exp(-0.02 * (points**2).sum(dim=1))
    noise = torch.randn(500, len(points), dtype=torch.complex64, generator=generator)
    found = radial_spectrum(ImageSpectra(shape * transfer + noise, transfer, points, 100.0), 10)
    pull = (found.value - torch.exp(-0.02 * found.frequency**2)) / found.error
    assert found.frequency.max() <= 10
    assert 0.7 < pull.std() < 1.3
    assert found.error.max() < 0.06


@pytest.mark.parametrize(
    "model,box,pixel_size",
    [
        ("1y1v_polII_TFIIS.pdb", 52, 5.0),
        ("4gxy_riboswitchRNA.cif", 44, 4.0),
    ],
)
def test_diameter_of_models(
    model: str, box: int, pixel_size: float, shared_data: Path, tmp_path: Path
) -> None:
    path = shared_data / "models" / model
    star = run_simulate(
        SimulateConfig(path, out=tmp_path / "s", n=1000, box=box, pixel_size=pixel_size, snr=0.1)
    )
    found = check(star).estimates
    volume, _ = read_map(star.with_name("truth.mrc"))
    assert found.diameter == pytest.approx(extent(torch.from_numpy(volume), pixel_size), rel=0.15)
    assert found.mask_diameter is not None
    assert found.mask_diameter >= min(read_model(path).diameter, box * pixel_size)


def test_the_real_stack(shared_data: Path) -> None:
    found = check(shared_data / "empiar10146" / "particles_3.0A_72.star")
    assert found.of("error") == [] and found.of("warning") == []
    assert 115 < found.estimates.diameter < 140  # about 120 A, its neighbours touching it
    assert found.estimates.correction.state == "uncorrected"
    assert levels(found) == {"crowded": "note", "picks-too-near": "note"}


@pytest.fixture(scope="module")
def hollow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thin shells 140 A across: beyond 1 / 140 A their spectrum is negative."""
    radius = 5.0 * frequency_radius(48, 3)
    shell = ((radius > 60) & (radius < 70)).float()
    config = SimulateConfig(Path("shell"), out=tmp_path_factory.mktemp("hollow") / "s", n=300)
    return simulate_from(lambda: (shell, 5.0), config, ignore)


def test_hollow_particles_score_as_white(hollow: Path) -> None:
    assert check(hollow).estimates.contrast > 20
    table = read_particles(hollow)
    for share in (0.6, 0.7, 0.85, 1.0):
        frame = working_frame(common_grid(table), share * 240, 20.0)
        cpu = torch.device("cpu")
        rings = load_rings(table, open_images(table), frame, cpu, ignore, CtfMode())
        assert contrast_score(rings, frame) > 20
        inverted = cached(-rings.samples.at(torch.arange(len(table))))
        assert contrast_score(replace(rings, samples=inverted), frame) < -20


def test_what_was_done_about_the_ctf(spectra: ImageSpectra) -> None:
    order = torch.randperm(len(spectra), generator=torch.Generator().manual_seed(0))
    images, ctf = spectra.samples, spectra.transfer
    noise = torch.randn(images.shape, dtype=images.dtype, generator=torch.Generator())
    for samples, state in (
        (images, "uncorrected"),
        (-images, "uncorrected"),
        (images * ctf.sign(), "phase-flipped"),
        (images * ctf, "premultiplied"),
        (images[order], "unrelated"),
        (noise, None),
    ):
        assert ctf_correction(replace(spectra, samples=samples)).state == state
    # One defocus for all: flipped or not, a free radial spectrum explains them alike.
    same = ctf[:1].expand_as(ctf)
    signal = torch.exp(-0.01 * spectra.radius**2) * same * 5
    flipped = replace(spectra, samples=signal.abs() + noise, transfer=same)
    assert ctf_correction(flipped).state is None


def test_delocalisation_without_spherical_aberration() -> None:
    optics = Optics(300.0, 0.0, 0.1)
    assert delocalisation(20000.0, optics, 4.0) == pytest.approx(
        electron_wavelength(300.0) * 20000.0 / 4.0
    )
    # The spherical aberration works against underfocus, and wins at high resolution.
    assert delocalisation(20000.0, Optics(300.0, 2.7, 0.1), 4.0) < 98.4 < 98.5


def test_nearest_keeps_to_its_micrograph() -> None:
    rng = np.random.default_rng(0)
    positions, group = rng.uniform(0, 100, size=(60, 2)), rng.integers(0, 4, 60)
    positions[7], group[7] = positions[3], group[3]
    group[59] = 9
    distance, other = nearest(positions, group)
    for row in range(59):
        apart = np.linalg.norm(positions - positions[row], axis=1)
        apart[(group != group[row]) | (np.arange(60) == row)] = np.inf
        assert distance[row] == pytest.approx(apart.min())
        assert apart[other[row]] == pytest.approx(apart.min())
    assert distance[59] == np.inf and other[59] == 59
    assert repeats(["a", "b", "a", "c", "b", "a"]) == [(0, 2), (1, 4), (0, 5)]


def test_main_axis_of_views() -> None:
    rng = np.random.default_rng(0)
    rot = rng.uniform(-180, 180, 20000)
    even = np.degrees(np.arccos(rng.uniform(-1, 1, 20000)))
    assert main_axis_share(rot, even) == pytest.approx(1 / 3, abs=0.01)
    assert main_axis_share(rot, np.full(20000, 90.0)) == pytest.approx(1 / 2, abs=0.01)
    assert main_axis_share(rot, np.full(20000, 180.0)) == pytest.approx(1)


# Faults --------------------------------------------------------------------------------------


def test_nothing_is_wrong_with_a_clean_stack(clean: Path) -> None:
    found = check(clean)
    assert found.findings == ()
    truth, _ = read_map(clean.parents[1] / "simulated" / "truth.mrc")
    assert found.estimates.diameter == pytest.approx(extent(torch.from_numpy(truth), 4.0), rel=0.15)


def lit(**values: object) -> Callable[[pl.DataFrame], pl.DataFrame]:
    return lambda f: f.with_columns(**{k: pl.lit(str(v)) for k, v in values.items()})


def row(number: int, value: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(images: np.ndarray) -> np.ndarray:
        images[number] = value
        return images

    return change


def one_pixel(images: np.ndarray) -> np.ndarray:
    images[499, 3, 3] = np.inf
    return images


def repeated_pixels(images: np.ndarray) -> np.ndarray:
    images[400] = images[20]
    return images


def repeated_rows(frame: pl.DataFrame) -> pl.DataFrame:
    return pl.concat([frame, frame[10:15]])


def white_noise(images: np.ndarray) -> np.ndarray:
    return np.random.default_rng(0).normal(size=images.shape).astype(np.float32)


def coordinates(spacing: float, of_two: float) -> Callable[[pl.DataFrame], pl.DataFrame]:
    """Picks on a line in pairs: ``spacing`` pixels from pair to pair, ``of_two`` within one."""

    def change(frame: pl.DataFrame) -> pl.DataFrame:
        row = np.arange(len(frame))
        place = (row // 2) * spacing + (row % 2) * of_two
        return frame.with_columns(
            rlnCoordinateX=pl.Series(place.astype(str)), rlnCoordinateY=pl.lit("7")
        )

    return change


def every_fiftieth(defocus: float) -> Callable[[pl.DataFrame], pl.DataFrame]:
    def change(frame: pl.DataFrame) -> pl.DataFrame:
        chosen = pl.int_range(pl.len()) % 50 == 0
        there = pl.when(chosen).then(pl.lit(str(defocus)))
        return frame.with_columns(
            rlnDefocusU=there.otherwise("rlnDefocusU"), rlnDefocusV=there.otherwise("rlnDefocusV")
        )

    return change


def preferred(frame: pl.DataFrame) -> pl.DataFrame:
    return lit(rlnAngleRot=0)(frame).with_columns(
        rlnAngleTilt=pl.Series([str(i % 30) for i in range(len(frame))])
    )


def column(**parts: object) -> dict:
    return {"particles": lit(**parts)}


def optic(**parts: object) -> dict:
    return {"optics": lit(**parts)}


FAULTS = {
    "inverted-contrast": ("error", {"images": np.negative}, "darker"),
    "no-density": ("warning", {"images": white_noise}, "standard errors"),
    "no-ctf": ("error", {"particles": lambda f: f.drop("rlnDefocusU")}, "_rlnDefocusU"),
    "zero-defocus": ("error", column(rlnDefocusU=0, rlnDefocusV=0), "500 of 500"),
    "negative-defocus": ("warning", {"particles": every_fiftieth(-9000)}, "10 of 500"),
    "defocus-unit": ("error", column(rlnDefocusU=1.5, rlnDefocusV=1.5), "median is 1.5"),
    "implausible-defocus": ("warning", {"particles": every_fiftieth(2e5)}, "10 of 500"),
    "constant-defocus": ("warning", column(rlnDefocusU=15000, rlnDefocusV=15000), "15000 A"),
    "implausible-voltage": ("error", optic(rlnVoltage=300000), "300000 kV"),
    "implausible-spherical-aberration": ("warning", optic(rlnSphericalAberration=27), "27 mm"),
    "implausible-amplitude-contrast": ("error", optic(rlnAmplitudeContrast=10), "of 10,"),
    "not-premultiplied": ("error", optic(rlnCtfDataAreCtfPremultiplied=1), "table says so"),
    "not-phase-flipped": ("error", optic(rlnCtfDataArePhaseFlipped=1), "standard errors"),
    "implausible-pixel-size": ("error", optic(rlnImagePixelSize=0.04), "0.04 A/px"),
    "contradictory-pixel-size": (
        "warning",
        column(rlnDetectorPixelSize=5, rlnMagnification=10000),
        "rlnMagnification say 5",
    ),
    "not-normalised": ("note", {"images": lambda i: 30 * i + 200}, "medians 2"),
    "dead-images": ("error", {"images": row(7, 4.0)}, "row 8 "),
    "not-finite": ("error", {"images": one_pixel}, "row 500 "),
    "saturated": ("warning", {"images": lambda i: np.minimum(i, 1.5)}, "500 of 500"),
    "same-image-twice": ("warning", {"particles": repeated_rows}, "same as row 11"),
    "same-pixels-twice": ("warning", {"images": repeated_pixels}, "row 401 .* same as row 21"),
    "picks-too-near": ("warning", {"particles": coordinates(100, 10)}, "40 A from row 2"),
    "crowded": ("note", {"particles": coordinates(100, 30)}, "100%"),
    "preferred-views": ("note", {"particles": preferred}, "0.9"),
}

COMPANIONS = {
    "not-premultiplied": {"as-read"},
    "not-phase-flipped": {"as-read"},
    "defocus-unit": {"constant-defocus"},
    "implausible-pixel-size": {"contradictory-pixel-size"},
    "picks-too-near": {"crowded"},
}
"""What else such a fault raises, rightly."""


@pytest.mark.parametrize("code", FAULTS)
def test_fault(code: str, clean: Path, tmp_path: Path) -> None:
    level, changes, words = FAULTS[code]
    found = check(altered(clean, tmp_path / "faulty", **changes))
    assert levels(found).get(code) == level, found.findings
    finding = next(f for f in found.findings if f.code == code)
    assert re.search(words, finding.evidence), finding.evidence
    assert finding.hint and "\n" not in finding.line()
    assert set(levels(found)) == {code} | COMPANIONS.get(code, set()), found.findings
    if level == "error":
        with pytest.raises(VitreousError, match=r"^particles\.star: "):
            found.stop_on_error(Path("particles.star"))
    else:
        found.stop_on_error(Path("particles.star"))
        assert len(found.warnings) == list(levels(found).values()).count("warning")


def test_nothing_but_dead_images(clean: Path, tmp_path: Path) -> None:
    found = check(altered(clean, tmp_path / "dead", np.zeros_like))
    assert levels(found) == {"dead-images": "error"}
    assert found.estimates.images == 0 and found.estimates.contrast is None


def test_header_that_contradicts_the_table(clean: Path, tmp_path: Path) -> None:
    found = check(altered(clean, tmp_path / "faulty", header=3.0))
    assert levels(found) == {"contradictory-pixel-size": "warning"}
    assert levels(check(altered(clean, tmp_path / "unset", header=1.0))) == {}


def test_what_the_job_is_going_to_do(clean: Path, tmp_path: Path) -> None:
    assert levels(check(clean, phase_flipped=True)) == {"not-phase-flipped": "error"}
    assert levels(check(clean, mask_diameter=80.0)) == {"tight-mask": "warning"}
    assert levels(check(clean, resolution=4.0)) == {"delocalisation": "warning"}
    assert check(clean, ctf=False).estimates.diameter is None
    bare = altered(clean, tmp_path / "bare", particles=lambda f: f.drop("rlnDefocusU"))
    assert levels(check(bare, ctf=False)) == {}
    few = altered(
        clean,
        tmp_path / "few",
        lambda i: i[:50],
        lambda f: f.head(50),
        lit(rlnCtfDataArePhaseFlipped=1),
    )
    for options in ({}, {"ctf": False}, {"phase_flipped": True}):
        assert levels(check(few, **options)) == {"as-read": "note"}
    narrow = altered(
        clean, tmp_path / "narrow", lambda i: i[:, 12:52, 12:52].copy(), optics=lit(rlnImageSize=40)
    )
    assert levels(check(narrow))["tight-box"] == "warning"


def test_relion_premultiplies_and_inverts(
    clean: Path, tmp_path: Path, relion: Callable[[str], str]
) -> None:
    star = altered(clean, tmp_path / "r")
    for program, options in (
        ("relion_ctf_toolbox", "--i particles.star --o multiplied"),
        ("relion_image_handler", "--i particles.mrcs --o inverted.mrcs --multiply_constant -1"),
    ):
        line = [relion(program), *options.split()]
        done = subprocess.run(line, cwd=star.parent, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert levels(check(star.with_name("particles_multiplied.star")))["premultiplied"] == "error"
    star.write_text(star.read_text().replace("particles.mrcs", "inverted.mrcs"))
    assert levels(check(star)) == {"inverted-contrast": "error"}


def test_coordinates_against_the_micrograph(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "data").mkdir()
    star = tmp_path / "data" / "particles.star"
    micrograph = rng.normal(size=(256, 320)).astype(np.float32)
    write_map(tmp_path / "m.mrc", micrograph[None], 2.0)
    x, y = rng.integers(20, 300, 20), rng.integers(20, 236, 20)
    windows = [micrograph[b - 16 : b + 16, a - 16 : a + 16] for a, b in zip(x, y, strict=True)]
    with stack_writer(tmp_path / "data" / "particles.mrcs", 32, 20, 2.0) as out:
        out.append(-np.stack(windows))
    optics = "data_optics\n\nloop_\n_rlnOpticsGroup\n_rlnImagePixelSize\n1 2.0\n\n"
    columns = ("ImageName", "OpticsGroup", "MicrographName", "CoordinateX", "CoordinateY")
    head = "data_particles\n\nloop_\n" + "".join(f"_rln{name}\n" for name in columns)
    for along_x, along_y, mirror in (
        (x, y, None),
        (x, 255 - y, "y"),
        (319 - x, 255 - y, "x and y"),
    ):
        rows = zip(range(1, 21), along_x, along_y, strict=True)
        star.write_text(
            optics + head + "".join(f"{i}@particles.mrcs 1 m.mrc {a} {b}\n" for i, a, b in rows)
        )
        found = [f for f in check(star, ctf=False).findings if f.code == "mirrored-coordinates"]
        assert len(found) == (mirror is not None)
        assert all(f"mirrored along {mirror}," in f.evidence for f in found)
    star.write_text(star.read_text().replace(f" {319 - x[0]} ", " 320 "))
    assert levels(check(star, ctf=False))["picks-off-micrograph"] == "warning"


# The command ---------------------------------------------------------------------------------


def test_command(clean: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = tmp_path / "record.json"

    def run(star: Path, **options) -> int:
        with pytest.raises(SystemExit) as left:
            command(CheckConfig(star, out=record, **options))
            sys.exit(0)
        return int(left.value.code or 0)

    assert run(clean) == 0
    said = capsys.readouterr().out
    assert "particle diameter" in said and "Nothing to complain of" in said
    written = json.loads(record.read_text())
    assert written["rows"] == 500 and written["findings"] == []
    assert written["estimates"]["correction"]["state"] == "uncorrected"
    dark = altered(clean, tmp_path / "dark", np.negative)
    assert run(dark, overwrite=True) == 2
    said = capsys.readouterr().out
    assert "inverted-contrast" in said and "--multiply_constant -1" in said
    assert [f["level"] for f in json.loads(record.read_text())["findings"]] == ["error"]
    with pytest.raises(VitreousError, match="there already"):
        run(dark)


def test_options_that_cannot_be_used(clean: Path) -> None:
    with pytest.raises(VitreousError, match="--resolution"):
        check(clean, resolution=0.0)
    with pytest.raises(VitreousError, match="--mask-diameter"):
        check(clean, mask_diameter=-5.0)


@pytest.mark.parametrize("box", [48, 49])
def test_extent_of_a_ball(box: int) -> None:
    axis = torch.arange(box) - box // 2
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    ball = (x**2 + y**2 + z**2 <= 15**2).float()
    # 99 % of its volume lie within the cube root of 0.99 of its radius; a pixel beyond is told.
    assert extent(ball, 2.0) == pytest.approx(2 * 2.0 * (15 * 0.99 ** (1 / 3) + 1), rel=0.02)
