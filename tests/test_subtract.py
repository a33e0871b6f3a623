"""Signal subtraction, against relion_particle_subtract and against images in closed form."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from conftest import simulated

from vitreous.config.particles import SubtractConfig
from vitreous.errors import VitreousError
from vitreous.imaging.subtract import Match, common_scale, particle_scales
from vitreous.io.mrc import read_map, stack_writer, write_map
from vitreous.io.star import StarBlock, read_star, write_star
from vitreous.jobs.particles.subtract import run_subtract
from vitreous.math.fourier import frequency_radius, to_fourier
from vitreous.math.gaussians import gaussian_sum
from vitreous.math.rotations import euler_to_matrix
from vitreous.particles.files import read_particles
from vitreous.particles.micrographs import positions
from vitreous.particles.poses import read_coordinates, read_poses
from vitreous.particles.stack import open_images

BOX, PIXEL, COUNT = 32, 8.0, 40


def images(star: Path) -> torch.Tensor:
    table = read_particles(star)
    return torch.from_numpy(open_images(table).read(np.arange(len(table))))


def half_space_mask(volume: np.ndarray) -> np.ndarray:
    z, y, x = np.indices(volume.shape) - volume.shape[0] // 2
    ball = np.sqrt(x**2 + y**2 + z**2) < 0.4 * volume.shape[0]
    return ball / (1 + np.exp(-(x - 1.0) / 0.7))


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated stack, its map truth.mrc, and mask.mrc of what to keep."""
    folder = tmp_path_factory.mktemp("subtract") / "data"
    star = simulated(folder, COUNT, box=BOX, pixel_size=PIXEL, snr=1.0, seed=3)
    truth, _ = read_map(folder / "truth.mrc")
    write_map(folder / "mask.mrc", half_space_mask(truth), PIXEL)
    return star


def subtract(star: Path, out: Path, **options: object) -> Path:
    """Subtract, with what lies beside the stack unless told otherwise; returns the STAR file."""
    given = {"map": star.with_name("truth.mrc"), "mask": star.with_name("mask.mrc")}
    return run_subtract(SubtractConfig(star, out=out, **{**given, **options})).star


@pytest.fixture(scope="module")
def relion_subtract(stack: Path, relion: Callable[[str], str]) -> Callable[..., Path]:
    """RELION's subtraction from the same images, by a refinement that has our map and poses."""
    folder = stack.parent

    def call(program: str, *options: str) -> None:
        command = (relion(program), *options)
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-300:] + done.stderr[-500:]

    (folder / "ref").mkdir()
    options = "--ini_high 20 --iter 1 --K 1 --skip_align --ctf --particle_diameter 240 --pad 2"
    data = ("--i", stack.name, "--o", "ref/run", "--ref", "truth.mrc", "--angpix", str(PIXEL))
    call("relion_refine", *data, *options.split())
    shutil.copy(folder / "truth.mrc", folder / "ref" / "run_it001_class001.mrc")

    def run(out: str, *more: str) -> Path:
        given = ("--i", "ref/run_it001_optimiser.star", "--mask", "mask.mrc", "--o", out)
        call("relion_particle_subtract", *given, *more)
        star = folder / out / "particles_subtracted.star"
        text = star.read_text().replace(f"{out}/", "")  # as seen from the STAR file's folder
        star.write_text(text)
        return star

    return run


def test_the_same_is_subtracted_as_in_relion(
    stack: Path, relion_subtract: Callable[..., Path], tmp_path: Path
) -> None:
    theirs = images(relion_subtract("plain"))
    ours = images(subtract(stack, tmp_path / "ours", greyscale="absolute"))
    inside = frequency_radius(BOX, 2) <= 14
    difference, subtracted = (
        to_fourier(a - b, 2)[:, inside] for a, b in ((ours, theirs), (images(stack), theirs))
    )
    assert difference.norm() / subtracted.norm() < 1e-3
    assert subtracted.norm() > 0.1 * to_fourier(theirs, 2)[:, inside].norm()


def test_images_are_moved_as_in_relion(
    stack: Path, relion_subtract: Callable[..., Path], tmp_path: Path
) -> None:
    theirs = relion_subtract("moved", "--recenter_on_mask", "--new_box", "24")
    options = {"recentre_on_mask": True, "box": 24, "greyscale": "absolute"}
    ours = subtract(stack, tmp_path / "ours", **options)
    a, b = read_particles(theirs), read_particles(ours)
    assert [g.box for g in a.optics] == [g.box for g in b.optics] == [24]
    np.testing.assert_allclose(read_poses(a).origins, read_poses(b).origins, atol=2e-3)
    # Only what lies beyond RELION's last shell differs.
    assert (images(theirs) - images(ours)).std() < 0.02 * images(theirs).std()


def test_reverting_undoes_it_all_by_the_angles_of_now(stack: Path, tmp_path: Path) -> None:
    moved = subtract(stack, tmp_path / "moved", recentre_on_mask=True, box=24)
    before, table = read_particles(stack), read_particles(moved)
    # The new centre is the mask's: its place on the micrograph is kept through the move.
    mask, _ = read_map(stack.with_name("mask.mrc"))
    axes = (np.indices(mask.shape) - BOX // 2)[::-1]
    centre = np.array([(axis * mask).sum() / mask.sum() for axis in axes]) * PIXEL
    there = positions(before, np.full(len(before), PIXEL)) + read_poses(before).projected(
        centre[None]
    )
    np.testing.assert_allclose(positions(table, np.full(len(table), PIXEL)), there, atol=1e-3)
    back = subtract(moved, tmp_path / "back", revert=True)
    after = read_particles(back)
    np.testing.assert_allclose(read_poses(after).origins, read_poses(before).origins, atol=1e-4)
    np.testing.assert_allclose(read_coordinates(after), read_coordinates(before), atol=1e-4)
    assert after.columns == before.columns and after.optics == before.optics
    assert torch.equal(images(back), images(stack))


def test_box_alone_centres_the_particle(stack: Path, tmp_path: Path) -> None:
    small = subtract(stack, tmp_path / "small", box=20)
    assert images(small).shape == (COUNT, 20, 20)
    assert np.abs(read_poses(read_particles(small)).origins).max() <= PIXEL / 2


KEPT, GONE = np.array([[30.0, 8.0, -12.0], [38.0, -10.0, 6.0]]), np.array([[-36.0, 5.0, 9.0]])
WIDTH = 14.0


def spots(points: np.ndarray, matrices: np.ndarray, origins: np.ndarray) -> np.ndarray:
    """Projections of Gaussians in closed form, at their places in the images."""
    axis = (np.arange(BOX) - BOX // 2) * PIXEL
    places = np.einsum("nij,pj->npi", matrices[:, :2], points) - origins[:, None]
    x, y = (
        np.exp(-((axis - places[..., d, None]) ** 2) / (2 * WIDTH**2))
        * (PIXEL / (WIDTH * np.sqrt(2 * np.pi)))
        for d in (0, 1)
    )
    return np.einsum("npy,npx->nyx", y, x)


@pytest.fixture(scope="module")
def bright(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noisy images without CTF of three spots, each image of its own brightness."""
    folder, count, rng = tmp_path_factory.mktemp("bright"), 300, np.random.default_rng(8)
    angles = np.column_stack([rng.uniform(-180, 180, (count, 2)), rng.uniform(-180, 180, count)])
    matrices = euler_to_matrix(*torch.from_numpy(angles.T.copy())).numpy()
    origins, own = rng.uniform(-15, 15, (count, 2)), rng.uniform(0.7, 1.3, count)
    kept, gone = spots(KEPT, matrices, origins), spots(GONE, matrices, origins)
    noise = rng.normal(scale=0.01, size=kept.shape)
    factor = 5 * own[:, None, None]  # the images' grey scale is five times the map's
    kept, gone, noise = factor * kept, factor * gone, 5 * noise
    with stack_writer(folder / "particles.mrcs", BOX, count, PIXEL) as stack:
        stack.append(kept + gone + noise)
    np.savez(folder / "parts.npz", kept=kept, gone=gone, noise=noise)
    volumes = [
        gaussian_sum(points, np.ones(len(points)), WIDTH, BOX, PIXEL).numpy()
        for points in (np.vstack([KEPT, GONE]), KEPT)
    ]
    write_map(folder / "truth.mrc", volumes[0], PIXEL)
    write_map(
        folder / "mask.mrc", volumes[1] / np.maximum(volumes[0], 1e-9 * volumes[0].max()), PIXEL
    )
    columns = {
        "rlnImageName": [f"{i + 1}@particles.mrcs" for i in range(count)],
        "rlnOpticsGroup": ["1"] * count,
        "rlnGroupScaleCorrection": [f"{value:.6f}" for value in own],
        **dict(
            zip(("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"), angles.astype(str).T, strict=True)
        ),
        "rlnOriginXAngst": origins[:, 0].astype(str),
        "rlnOriginYAngst": origins[:, 1].astype(str),
    }
    optics = {
        "rlnOpticsGroup": ["1"],
        "rlnImagePixelSize": [str(PIXEL)],
        "rlnImageSize": [str(BOX)],
    }
    blocks = [
        StarBlock("optics", pl.DataFrame(optics)),
        StarBlock("particles", pl.DataFrame(columns)),
    ]
    write_star(folder / "particles.star", blocks)
    return folder / "particles.star"


def left_over(bright: Path, out: Path, **options: object) -> float:
    """Power of the part to be gone that is still there, over what there was."""
    parts = np.load(bright.with_name("parts.npz"))
    star = subtract(bright, out, ctf=False, fit_resolution=40.0, **options)
    rest = images(star).numpy() - parts["kept"] - parts["noise"]
    return float((rest**2).sum() / (parts["gone"] ** 2).sum())


def test_the_kept_part_and_the_noise_stay(bright: Path, tmp_path: Path) -> None:
    left = {
        name: left_over(bright, tmp_path / name, particle_scale=name)
        for name in ("none", "column", "fitted")
    }
    # One scale for all leaves the variance of the images' own, 0.6^2 / 12, over their mean square.
    assert left["none"] == pytest.approx(0.03 / 1.03, rel=0.25)
    assert left["column"] < 1e-3
    assert left["fitted"] < 0.1 * left["none"]
    # A map five times too weak, taken as it is, leaves (4 / 5)^2.
    blunt = left_over(bright, tmp_path / "absolute", greyscale="absolute", particle_scale="column")
    assert blunt == pytest.approx(0.64, rel=0.02)
    record = json.loads((tmp_path / "column" / "result.json").read_text())
    assert record["scales"][0]["scale"] == pytest.approx(5.0, rel=0.01)


def test_scales_are_drawn_to_the_mean_as_far_as_they_are_noise() -> None:
    rng = np.random.default_rng(9)
    count, power, noise = 4000, 100.0, 4.0
    for among in (0.0, 0.3):
        true = 2 + among * rng.normal(size=count)
        own = true + rng.normal(scale=np.sqrt(noise / power), size=count)
        found = Match(own * power, np.full(count, power), np.full(count, noise))
        mean, error = common_scale(found)
        assert abs(mean - true.mean()) < 4 * error
        assert error == pytest.approx(np.sqrt(noise / power / count))
        kept = among**2 / (among**2 + noise / power)  # of the scatter: Wiener's factor
        drawn = particle_scales(found)
        assert np.polyfit(own, drawn, 1)[0] == pytest.approx(kept, abs=0.05)


def test_a_map_that_the_images_do_not_show(bright: Path, tmp_path: Path) -> None:
    volume, _ = read_map(bright.with_name("truth.mrc"))
    write_map(tmp_path / "dark.mrc", -volume, PIXEL)
    with pytest.raises(VitreousError, match="do not show the map at their poses"):
        subtract(bright, tmp_path / "out", map=tmp_path / "dark.mrc", ctf=False)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "options,without,words",
    [
        ({"mask": None}, (), "a mask of what is kept is needed"),
        ({"map": None}, (), "a map is needed"),
        ({"box": 33}, (), "expected an even one"),
        ({"box": 64}, (), "64 px, but the images have 32"),
        ({"mask": "small.mrc"}, (), "small.mrc: has a box of 24 px, but .* 32"),
        ({"mask": "fine.mrc"}, (), "fine.mrc: has pixels of 4 A"),
        ({"mask": "truth.mrc"}, (), "expected a mask from 0 to 1"),
        ({"mask": "all.mrc"}, (), "nothing to subtract"),
        ({"map": "small.mrc"}, (), "has 24 px of 8 A, but the images have 32 px"),
        ({"map": "fine.mrc"}, (), "has 32 px of 4 A, but the images have 32 px"),
        ({"revert": True}, (), "no column _rlnImageOriginalName"),
        ({}, ("rlnAngleTilt",), "no column _rlnAngleTilt"),
        ({}, ("rlnDefocusU",), "no CTF"),
        ({"particle_scale": "column"}, (), "no column _rlnGroupScaleCorrection"),
        ({"particle_scale": "fitted", "greyscale": "absolute"}, (), "leaves no absolute one"),
        ({"fit_resolution": 0.0}, (), "--fit-resolution: not more than 0 A"),
        ({"out": "."}, (), "holds the input"),
    ],
)
def test_bad_input(
    stack: Path, tmp_path: Path, options: dict, without: tuple[str, ...], words: str
) -> None:
    for file in stack.parent.glob("*.m*"):
        shutil.copy(file, tmp_path)
    rng = np.random.default_rng(1)
    for name, box, pixel in (("small", 24, PIXEL), ("fine", BOX, PIXEL / 2)):
        write_map(tmp_path / f"{name}.mrc", rng.uniform(size=(box, box, box)), pixel)
    write_map(tmp_path / "all.mrc", np.ones((BOX, BOX, BOX)), PIXEL)
    blocks = read_star(stack)
    particles = blocks["particles"].with_frame(blocks["particles"].frame.drop(without))
    write_star(tmp_path / "particles.star", [blocks["optics"], particles])
    paths = {k: tmp_path / v if isinstance(v, str) and "." in v else v for k, v in options.items()}
    given = {"map": tmp_path / "truth.mrc", "mask": tmp_path / "mask.mrc", "out": tmp_path / "o"}
    config = SubtractConfig(tmp_path / "particles.star", **{**given, **paths})
    with pytest.raises(VitreousError, match=words):
        run_subtract(config)
    assert not (tmp_path / "o").exists()


def test_not_subtracted_twice(stack: Path, tmp_path: Path) -> None:
    once = subtract(stack, tmp_path / "once")
    given = {"map": stack.with_name("truth.mrc"), "mask": stack.with_name("mask.mrc")}
    with pytest.raises(VitreousError, match="subtracted already"):
        subtract(once, tmp_path / "twice", **given)
    with pytest.raises(VitreousError, match="--overwrite"):
        subtract(stack, tmp_path / "once")
