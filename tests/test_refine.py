"""Refinement: finds poses and resolution, invents neither, resumes, and refuses bad input."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from conftest import simulated

from vitreous.config.refine import RefineConfig
from vitreous.errors import InputError, VitreousError
from vitreous.imaging.phantom import built_in_phantom
from vitreous.io.mrc import read_map, stack_writer, write_map
from vitreous.io.star import read_star, write_star
from vitreous.jobs.refine.refine import run_refine
from vitreous.math.rotations import angular_distance, euler_to_matrix
from vitreous.math.symmetry import point_group
from vitreous.particles.files import read_particles
from vitreous.particles.stack import open_images
from vitreous.report.html import write_report
from vitreous.schedules.refine.gold import claimed
from vitreous.validate.fsc import fsc, resolution_at
from vitreous.validate.symmetry.rotate import symmetrise_map

BOX, PIXEL = 40, 6.0


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stack") / "data"
    return simulated(folder, 600, box=BOX, pixel_size=PIXEL, snr=0.3, seed=5)


def config_for(stack: Path, out: Path, **options: object) -> RefineConfig:
    """Options of a search from nothing but the reference: the stack holds its true poses."""
    defaults = {
        "reference": stack.parent / "truth.mrc",
        "mask_diameter": 180.0,
        "ignore_poses": "local_search" not in options,
    }
    return RefineConfig(stack, out=out, **(defaults | options))


@pytest.fixture(scope="module")
def job(stack: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_refine(config_for(stack, tmp_path_factory.mktemp("refined") / "job"))


def poses(star: Path) -> torch.Tensor:
    frame = read_star(star)["particles"].frame
    angles = (frame[f"rlnAngle{n}"].cast(pl.Float64).to_numpy() for n in ("Rot", "Tilt", "Psi"))
    return euler_to_matrix(*(torch.from_numpy(a.copy()) for a in angles))


@pytest.mark.slow
def test_finds_the_poses_and_the_map(job: Path, stack: Path) -> None:
    result = json.loads((job / "result.json").read_text())
    assert result["settled"]
    assert result["verdict"] == "solved" and result["next_step"] is None
    assert result["resolution_0143"] < 18
    errors = angular_distance(poses(job / "particles.star"), poses(stack))
    assert float(errors.median()) < 4
    truth, _ = read_map(stack.parent / "truth.mrc")
    found, _ = read_map(job / "map.mrc")
    mask, _ = read_map(job / "mask.mrc")
    curve = fsc(torch.from_numpy(found * mask), torch.from_numpy(truth * mask)).numpy()
    reached = resolution_at(curve, 0.5, BOX, PIXEL)
    assert reached is not None and reached < 18


@pytest.mark.slow
def test_reported_resolution_is_that_to_the_truth(job: Path, stack: Path) -> None:
    """FSC 0.143 between halves is 0.5 of the whole with the truth: Rosenthal & Henderson 2003."""
    truth, mask = (
        torch.from_numpy(read_map(p)[0]) for p in (stack.parent / "truth.mrc", job / "mask.mrc")
    )
    whole = sum(torch.from_numpy(read_map(job / f"half{n}.mrc")[0]) for n in (1, 2))
    curve = fsc(whole * mask, truth * mask).numpy()
    reached = resolution_at(curve, 0.5, BOX, PIXEL)
    claimed = json.loads((job / "result.json").read_text())["resolution_0143_interpolated"]
    assert reached is not None
    shells = BOX * PIXEL * (1 / claimed - 1 / reached)
    assert abs(shells) < 1.5


@pytest.mark.slow
def test_outputs(job: Path, stack: Path) -> None:
    for name in ("map", "half1", "half2", "mask", "sharpened"):
        volume, pixel_size = read_map(job / f"{name}.mrc")
        assert volume.shape == (BOX,) * 3 and pixel_size == pytest.approx(PIXEL)
    assert (job / "fsc.xml").is_file()
    after = read_particles(job / "particles.star")
    halves = after.half
    own = read_star(stack)["particles"].frame["rlnRandomSubset"].cast(pl.Int64).to_numpy()
    assert np.array_equal(halves, own)
    assert write_report(job).stat().st_size > 10_000


class Interrupted(Exception):
    pass


@pytest.mark.slow
def test_interrupted_and_resumed_gives_the_same_bits(
    job: Path, stack: Path, tmp_path: Path
) -> None:
    passes = []

    def stop(event: dict) -> None:
        if event["event"] == "refinement":
            passes.append(event["iteration"])
            if len(passes) == 2:
                raise Interrupted

    config = config_for(stack, tmp_path / "job")
    with pytest.raises(Interrupted):
        run_refine(config, stop)
    run_refine(replace(config, resume=True))
    told, again = (json.loads((f / "result.json").read_text()) for f in (job, tmp_path / "job"))
    assert told["starts"] == again["starts"] and told["evidence"] == again["evidence"]
    for name in ("half1", "half2"):
        ours, theirs = (read_map(folder / f"{name}.mrc")[0] for folder in (tmp_path / "job", job))
        assert np.array_equal(ours, theirs)


def with_images(stack: Path, out: Path, change: Callable[[np.ndarray], np.ndarray]) -> Path:
    """The same table over other images."""
    table = read_particles(stack)
    images = change(open_images(table).read(np.arange(len(table)))).astype(np.float32)
    out.mkdir()
    with stack_writer(out / "changed.mrcs", BOX, len(images), PIXEL) as file:
        file.append(images)
    blocks = read_star(stack)
    names = pl.Series([f"{n:06d}@changed.mrcs" for n in range(1, len(images) + 1)])
    frame = blocks["particles"].frame.with_columns(rlnImageName=names)
    blocks["particles"] = blocks["particles"].with_frame(frame)
    write_star(out / "changed.star", blocks.values())
    return out / "changed.star"


@pytest.mark.parametrize(("regulariser", "seed"), [("nonuniform", 3), ("spherical", 4)])
@pytest.mark.slow
def test_noise_gives_no_resolution(
    stack: Path, tmp_path: Path, regulariser: str, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    star = with_images(stack, tmp_path / "noise", lambda images: rng.normal(size=images.shape))
    options = {"reference": stack.parent / "truth.mrc", "regulariser": regulariser}
    job = run_refine(config_for(star, tmp_path / "job", check=False, iterations=8, **options))
    result = json.loads((job / "result.json").read_text())
    found = result["resolution_0143"]
    assert found is None or found > 40 / 1.3
    joined = round(BOX * PIXEL / 40)
    assert abs(np.mean(result["fsc"]["corrected"][joined + 3 :])) < 0.1
    assert result["verdict"] == "failed"


@pytest.mark.parametrize("local_search", [None, 3.75])
@pytest.mark.slow
def test_noise_under_symmetry_claims_nothing(
    stack: Path, tmp_path: Path, local_search: float | None
) -> None:
    """A shell then has few independent values, and halves of noise do agree."""
    volume = symmetrise_map(built_in_phantom(BOX, PIXEL), point_group("O"))
    write_map(tmp_path / "o.mrc", volume.numpy(), PIXEL)
    rng = np.random.default_rng(5)
    star = with_images(stack, tmp_path / "noise", lambda images: rng.normal(size=images.shape))
    options = {"reference": tmp_path / "o.mrc", "symmetry": "O"}
    if local_search is not None:
        options["local_search"] = local_search
    job = run_refine(config_for(star, tmp_path / "job", check=False, iterations=8, **options))
    result = json.loads((job / "result.json").read_text())
    assert result["resolution_0143"] is None or result["resolution_0143"] > 40 / 1.3
    assert any("likelier to be noise" in told for told in result["warnings"])
    assert result["verdict"] == "failed" and "vitreous check" in result["next_step"]["command"]


@pytest.mark.parametrize(
    ("found", "lowpass", "evidence", "claim"),
    [
        (None, 40.0, 9.0, None),
        (28.0, 40.0, 9.0, 28.0),  # 1.4 times finer than 40 A: their own
        (28.0, 40.0, None, 28.0),
        (28.0, 40.0, -1.0, 40.0),  # noise explains the images as well
        (30.0, 40.0, 9.0, 40.0),
        (50.0, 40.0, 9.0, 50.0),
        (25.0, 30.0, 9.0, 40.0),  # the reference was no coarser than 30 A
        (21.0, 30.0, 9.0, 21.0),
        (30.0, 60.0, 9.0, 60.0),
    ],
)
def test_no_more_is_claimed_than_is_the_halves_own(
    found: float | None, lowpass: float, evidence: float | None, claim: float | None
) -> None:
    resolution, warnings = claimed(found, shared=40.0, lowpass=lowpass, evidence=evidence)
    assert resolution == claim
    own = found in (28.0, 21.0) and evidence != -1.0
    assert bool(warnings) == (found is not None and not own)


@pytest.mark.slow
def test_random_phases_stay_random(stack: Path, tmp_path: Path) -> None:
    """Images whose phases are random beyond 20 A: no half learns them from the other."""
    limit = BOX * PIXEL / 20
    rng = np.random.default_rng(4)

    def randomised(images: np.ndarray) -> np.ndarray:
        spectrum, noise = np.fft.fft2(images), np.fft.fft2(rng.normal(size=images.shape))
        k = np.fft.fftfreq(BOX) * BOX
        beyond = np.hypot(*np.meshgrid(k, k)) > limit
        random = np.abs(spectrum) * noise / np.abs(noise)
        return np.fft.ifft2(np.where(beyond, random, spectrum)).real

    star = with_images(stack, tmp_path / "random", randomised)
    truth = stack.parent / "truth.mrc"
    job = run_refine(config_for(star, tmp_path / "job", reference=truth, check=False))
    result = json.loads((job / "result.json").read_text())
    beyond = np.array(result["fsc"]["corrected"])[int(limit) + 3 :]
    assert np.abs(beyond).mean() < 0.1
    assert result["resolution_0143"] > BOX * PIXEL / (limit + 2)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"lowpass": 10.0}, "finest resolution, 12 A"),
        ({"lowpass": -1.0}, "not more than 0"),
        ({"iterations": 1}, "less than 2"),
        ({"local_search": 40.0}, "outside 0 to 15"),
        ({"local_search": 3.75, "ignore_poses": True}, "--ignore-poses: .*; give one of them"),
        ({"mask_diameter": 900.0}, "wider than the box"),
        ({"offset_range": 0.0}, "not more than 0"),
        ({"symmetry": "D2"}, "does not have the symmetry D2"),
    ],
)
def test_bad_options(stack: Path, tmp_path: Path, options: dict, words: str) -> None:
    with pytest.raises(VitreousError, match=words):
        run_refine(config_for(stack, tmp_path / "job", **options))
    assert not (tmp_path / "job").exists()


def test_mask_of_another_box(stack: Path, tmp_path: Path) -> None:
    write_map(tmp_path / "mask.mrc", np.ones((32, 32, 32), np.float32), PIXEL)
    with pytest.raises(InputError, match="box"):
        run_refine(config_for(stack, tmp_path / "job", mask=tmp_path / "mask.mrc"))


@pytest.mark.slow
def test_reference_on_another_grid_is_told(stack: Path, tmp_path: Path) -> None:
    write_map(tmp_path / "large.mrc", built_in_phantom(60, 4.0).numpy(), 4.0)
    options = {"reference": tmp_path / "large.mrc", "iterations": 2}
    job = run_refine(config_for(stack, tmp_path / "job", **options))
    warnings = json.loads((job / "result.json").read_text())["warnings"]
    assert any("brought to their grid" in warning for warning in warnings)
    assert any("had not settled" in warning for warning in warnings)


def test_halves_must_be_two(stack: Path, tmp_path: Path) -> None:
    blocks = read_star(stack)
    frame = blocks["particles"].frame.with_columns(rlnRandomSubset=pl.lit("3"))
    blocks["particles"] = blocks["particles"].with_frame(frame)
    star = stack.parent / "thirds.star"
    write_star(star, blocks.values())
    with pytest.raises(InputError, match="rlnRandomSubset"):
        run_refine(config_for(star, tmp_path / "job"))


def test_local_search_needs_angles(stack: Path, tmp_path: Path) -> None:
    blocks = read_star(stack)
    blocks["particles"] = blocks["particles"].with_frame(
        blocks["particles"].frame.drop("rlnAngleRot")
    )
    star = stack.parent / "unposed.star"
    write_star(star, blocks.values())
    with pytest.raises(InputError, match="rlnAngleRot"):
        run_refine(config_for(star, tmp_path / "job", local_search=3.75))
