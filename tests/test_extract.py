"""Extraction, against relion_preprocess: pixel by pixel, and the tables that it leaves."""

from __future__ import annotations

import math
import subprocess
from collections.abc import Callable
from pathlib import Path

import mrcfile
import numpy as np
import polars as pl
import pytest
from micrograph_samples import (
    OPTICS,
    write_coordinates,
    write_micrograph,
    write_table,
)

from vitreous.config.extract import ExtractConfig
from vitreous.errors import InputError, OptionError, VitreousError
from vitreous.io.star import StarBlock, read_star, write_star
from vitreous.jobs.extract.extract import run_extract
from vitreous.particles.files import read_particles
from vitreous.particles.micrographs import positions
from vitreous.particles.stack import open_images

Find = Callable[[str], str]

BOX = 48
SIDES = (200, 240)
CORNERS = [[10.5, 20.5], [10.49, 190.51], [238.0, 3.0], [-20.0, 100.0], [120.5, 101.5]]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of one micrograph with picks, some of them across its border."""
    root, rng = tmp_path_factory.mktemp("project"), np.random.default_rng(5)
    y, x = np.indices(SIDES)
    write_micrograph(root / "m" / "a.mrc", rng.normal(40 + 0.05 * x - 0.02 * y, 6.0))
    write_table(root / "mics.star", ["m/a.mrc"])
    xy = np.concatenate([CORNERS, rng.uniform(30, 170, (6, 2)).round(2)])
    write_coordinates(root / "m" / "a_pick.star", xy)
    rows = {
        "rlnCoordinateX": xy[:, 0],
        "rlnCoordinateY": xy[:, 1],
        "rlnDefocusU": rng.uniform(15000, 15400, len(xy)),
        "rlnDefocusV": rng.uniform(14800, 15000, len(xy)),
        "rlnDefocusAngle": rng.uniform(0, 180, len(xy)),
        "rlnPhaseShift": np.zeros(len(xy)),
        "rlnAngleRot": rng.uniform(0, 360, len(xy)),
        "rlnAngleTilt": rng.uniform(0, 180, len(xy)),
        "rlnAnglePsi": rng.uniform(0, 360, len(xy)),
        "rlnOriginXAngst": rng.uniform(-8, 8, len(xy)),
        "rlnOriginYAngst": rng.uniform(-8, 8, len(xy)),
    }
    frame = pl.DataFrame({name: [f"{v:.4f}" for v in column] for name, column in rows.items()})
    frame = frame.with_columns(
        pl.Series("rlnImageName", [f"{i + 1:06d}@old/a.mrcs" for i in range(len(xy))]),
        pl.lit("m/a.mrc").alias("rlnMicrographName"),
        pl.lit("1").alias("rlnOpticsGroup"),
    )
    images = {"rlnImagePixelSize": "2.8", "rlnImageSize": "24", "rlnImageDimensionality": "2"}
    cells = {k: v for k, v in OPTICS.items() if k != "rlnMicrographPixelSize"} | images
    optics = StarBlock("optics", pl.DataFrame([cells]))
    write_star(root / "refined.star", [optics, StarBlock("particles", frame)])
    return root


def relion_extracts(find: Find, root: Path, name: str, *options: str) -> Path:
    program = find("relion_preprocess")
    where = ("--part_star", f"{name}/particles.star", "--part_dir", f"{name}/")
    size = ("--extract", "--extract_size", str(BOX))
    if "--reextract_data_star" not in options:
        options += ("--coord_dir", "./", "--coord_suffix", "_pick.star")
    line = (program, "--i", "mics.star", *where, *size, *options)
    subprocess.run(line, cwd=root, check=True, capture_output=True, timeout=60)
    return root / name / "particles.star"


def extract(root: Path, name: str, **options: object) -> Path:
    given: dict[str, object] = {"box": BOX, "workers": 1, "invert": False}
    if "particles" not in options:
        given["coordinates"] = root / "m"
    config = ExtractConfig(root / "mics.star", out=root / name, **{**given, **options})
    return run_extract(config) / "particles.star"


def images_of(star: Path) -> np.ndarray:
    table = read_particles(star)
    return open_images(table).read(np.arange(len(table)))


def same(theirs: Path, ours: Path) -> None:
    """Require equal images, to 1e-6 of their range, and equal numbers in common columns."""
    expected, found = images_of(theirs), images_of(ours)
    assert np.abs(found - expected).max() <= 1e-6 * max(1.0, np.abs(expected).max())
    for block in ("optics", "particles"):
        a, b = read_star(theirs)[block].frame, read_star(ours)[block].frame
        for column in set(a.columns) - {"rlnImageName", "rlnOpticsGroupName", "rlnMicrographName"}:
            if column in ("rlnCtfBfactor", "rlnCtfScalefactor"):
                continue  # RELION adds those that say nothing
            numbers = (frame[column].cast(pl.Float64).to_numpy() for frame in (a, b))
            np.testing.assert_allclose(*numbers, atol=2e-4, err_msg=column)


NORMALISED = ("--norm", "--white_dust", "-1", "--black_dust", "-1")
RAW = {"normalise": False}
CASES = {
    "raw": ((), RAW),
    "norm": (
        (*NORMALISED, "--bg_radius", "18", "--invert_contrast"),
        {"background_diameter": 36 * 1.4, "invert": True},
    ),
    "no_ramp": (
        (*NORMALISED, "--bg_radius", "18", "--no_ramp"),
        {"ramp": False},
    ),
    "smaller": ((*NORMALISED, "--bg_radius", "9", "--scale", "24"), {"scale": 24}),
    "odd_half": ((*NORMALISED, "--bg_radius", "8", "--scale", "22"), {"scale": 22}),
    "larger": (("--scale", "60"), {"scale": 60, **RAW}),
}


@pytest.mark.parametrize("case", CASES)
def test_images_are_those_of_relion(relion: Find, root: Path, case: str) -> None:
    theirs, ours = CASES[case]
    same(relion_extracts(relion, root, f"r_{case}", *theirs), extract(root, f"v_{case}", **ours))


REFINED = ("--reextract_data_star", "refined.star")
AGAIN = {
    "kept": ((), {}),
    "reset": (("--reset_offsets",), {"reset_origins": True}),
    "recentred": (("--recenter",), {"recentre": True}),
    "on_a_point": (
        (
            "--recenter",
            *[
                "--recenter_x",
                "10",
                "--recenter_y",
                "-4",
                "--recenter_z",
                "7",
                "--ref_angpix",
                "1.5",
            ],
        ),
        {"recentre_on": (15.0, -6.0, 10.5)},
    ),
}


@pytest.mark.parametrize("case", AGAIN)
def test_refined_particles_are_cut_again_as_by_relion(relion: Find, root: Path, case: str) -> None:
    theirs, ours = AGAIN[case]
    scaled = ("--scale", "36", *NORMALISED, "--bg_radius", "13", *theirs)
    expected = relion_extracts(relion, root, f"r_{case}", *REFINED, *scaled)
    found = extract(root, f"v_{case}", particles=root / "refined.star", scale=36, **ours)
    same(expected, found)


@pytest.mark.parametrize("action", ["multiply", "flip"])
def test_the_ctf_is_applied_as_by_relion(
    relion: Find, root: Path, action: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # RELION's wavelength is 6e-6 longer than that of the constants of nature.
    monkeypatch.setattr(
        "vitreous.imaging.ctf.electron_wavelength",
        lambda kv: 12.2643247 / math.sqrt(kv * 1e3 * (1 + kv * 1e3 * 0.978466e-6)),
    )
    option = {"multiply": "--premultiply_ctf", "flip": "--phase_flip"}[action]
    larger = ("--premultiply_extract_size", "80") if action == "multiply" else ()
    theirs = relion_extracts(relion, root, f"r_{action}", option, *larger)
    box = {"ctf_box": 80} if larger else {}
    ours = extract(root, f"v_{action}", ctf=action, **RAW, **box)
    same(theirs, ours)
    state = read_particles(ours).state
    assert state.premultiplied.all() == (action == "multiply")
    assert state.flipped.all() == (action == "flip")


def test_recentring_leaves_particles_where_they_are(root: Path) -> None:
    before = read_particles(root / "refined.star", need_images=False)
    after = read_particles(
        extract(root, "moved", particles=root / "refined.star", recentre=True), need_images=False
    )
    pixels = np.full(len(before), 1.4)
    np.testing.assert_allclose(positions(after, pixels), positions(before, pixels), atol=1e-3)
    assert np.abs(after.origin_x).max() <= 0.7 + 1e-6


def test_what_an_earlier_extraction_did_about_the_ctf_is_forgotten(root: Path) -> None:
    multiplied = extract(root, "once", ctf="multiply")
    again = read_particles(extract(root, "twice", particles=multiplied))
    assert not again.state.premultiplied.any()
    assert len(again) == len(read_particles(multiplied))


def test_dust_is_replaced_by_noise(root: Path, tmp_path: Path) -> None:
    image = np.random.default_rng(1).normal(0, 1, SIDES)
    image[100, 120] = 400.0
    write_micrograph(tmp_path / "d.mrc", image)
    write_table(tmp_path / "mics.star", ["d.mrc"])
    write_coordinates(tmp_path / "d.star", np.array([[120.0, 100.0]]))
    given = {"coordinates": tmp_path / "d.star"}
    assert images_of(extract(tmp_path, "with", **given)).max() > 300
    clean = images_of(extract(tmp_path, "without", white_dust=5.0, **given))
    assert clean.max() < 6
    twice = images_of(extract(tmp_path, "again", white_dust=5.0, **given))
    assert np.array_equal(clean, twice), "a seed fixes the noise"


def test_half_precision_is_what_it_says(root: Path) -> None:
    full, half = extract(root, "f32"), extract(root, "f16", float16=True)
    with mrcfile.open(half.parent / "images" / "a.mrcs") as stack:
        assert stack.header.mode == 12 and stack.is_image_stack()
    np.testing.assert_allclose(images_of(half), images_of(full), atol=4e-3)


def test_a_micrograph_that_fails_leaves_the_others(root: Path, tmp_path: Path) -> None:
    good = (root / "m" / "a.mrc").read_bytes()
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.mrc").write_bytes(good[: 5000 if name == "b" else None])
    write_table(tmp_path / "mics.star", ["a.mrc", "b.mrc", "c.mrc", "missing.mrc"])
    for name, x in (("a", 100.0), ("b", 100.0), ("c", 5000.0), ("missing", 50.0)):
        write_coordinates(tmp_path / f"{name}_picks.star", np.array([[x, 100.0]]))
    write_coordinates(tmp_path / "a_picks.star", np.array([[100.0, 100.0], [900.0, 9.0]]))
    star = extract(tmp_path, "job", coordinates=tmp_path)
    assert len(read_particles(star)) == 1
    warnings = " ".join((star.parent / "log.jsonl").read_text().splitlines())
    assert "smaller than" not in warnings
    failed = [e for e in warnings.split('"event"') if '"failed"' in e]
    assert len(failed) == 3
    assert any("b.mrc" in e for e in failed) and any("5000, 100" in e for e in failed)


def test_bad_input_is_told(root: Path, tmp_path: Path) -> None:
    helical = write_coordinates(
        tmp_path / "a.star", np.array([[50.0, 50.0]]), rlnHelicalTubeID=["1"]
    )
    nothing = tmp_path / "none"
    nothing.mkdir()
    bad: list[tuple[dict[str, object], type[VitreousError], str]] = [
        ({"box": 300}, InputError, "smaller than the box"),
        ({"box": 31}, OptionError, "even"),
        ({"coordinates": helical}, InputError, "helical"),
        ({"coordinates": nothing}, InputError, "no coordinates"),
        ({"coordinates": None}, OptionError, "coordinates"),
        ({"background_diameter": 500.0}, OptionError, "no background"),
        ({"recentre": True}, OptionError, "origins"),
        ({"float16": True, "normalise": False}, OptionError, "16 bits"),
        ({"min_merit": 0.1}, InputError, "rlnAutopickFigureOfMerit"),
        ({"coordinates": root / "mics.star"}, InputError, "no coordinates"),
    ]
    for options, kind, words in bad:
        with pytest.raises(kind, match=words):
            extract(root, "never", overwrite=True, **options)


def test_micrographs_that_were_rejected_are_left_out(root: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.mrc").write_bytes((root / "m" / "a.mrc").read_bytes())
        write_coordinates(tmp_path / f"{name}_picks.star", np.array([[100.0, 100.0]]))
    write_table(tmp_path / "mics.star", ["a.mrc", "b.mrc"], vitreousCtfVerdict=["keep", "reject"])
    assert len(read_particles(extract(tmp_path, "some", coordinates=tmp_path))) == 1
    every = read_particles(extract(tmp_path, "every", coordinates=tmp_path, take_rejected=True))
    assert every.carried.joined()["vitreousCtfVerdict"].to_list() == ["keep", "reject"]


def test_a_resumed_job_does_what_is_left(root: Path, tmp_path: Path) -> None:
    good = (root / "m" / "a.mrc").read_bytes()
    for name in ("a", "b"):
        (tmp_path / f"{name}.mrc").write_bytes(good if name == "a" else b"")
        write_coordinates(tmp_path / f"{name}.star", np.array([[100.0, 100.0]]))
    write_table(tmp_path / "mics.star", ["a.mrc", "b.mrc"])
    star = extract(tmp_path, "job", coordinates=tmp_path)
    assert len(read_particles(star)) == 1
    written = (star.parent / "images" / "a.mrcs").stat().st_mtime_ns
    (tmp_path / "b.mrc").write_bytes(good)
    extract(tmp_path, "job", coordinates=tmp_path, resume=True)
    assert len(read_particles(star)) == 2
    assert (star.parent / "images" / "a.mrcs").stat().st_mtime_ns == written
