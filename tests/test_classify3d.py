"""3D classification: known labels come back, decoys take junk, and bad input is told of."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from class_samples import (
    BOX,
    COUNTS,
    MASK,
    PIXEL,
    Case,
    classes_of,
    density,
    frame_of,
    right,
    stack,
)
from scipy.spatial.transform import Rotation

from vitreous.config.classify import Classify3dConfig
from vitreous.engine.images import CtfMode, Frame, working_frame
from vitreous.engine.planes import load_planes
from vitreous.errors import VitreousError
from vitreous.io.mrc import read_map, write_map
from vitreous.io.star import read_star, write_star
from vitreous.jobs.classify3d.classify3d import run_classify3d
from vitreous.math.fourier import frequency_radius
from vitreous.math.rotations import angular_distance, euler_to_matrix
from vitreous.math.symmetry import point_group
from vitreous.particles.files import read_particles
from vitreous.particles.grid import common_grid
from vitreous.particles.groups import image_numbers
from vitreous.particles.particle_set import ParticleSet
from vitreous.particles.stack import open_images
from vitreous.report.html import write_report
from vitreous.runs.folder import ignore
from vitreous.schedules.class3d.begin import begun
from vitreous.schedules.class3d.pose_search import NearPoses, given_poses, near_given
from vitreous.schedules.class3d.references import (
    Framed,
    at_images_intensity,
    compare_references,
    in_frame,
    read_reference,
)
from vitreous.schedules.class3d.steps import hard

ANGLES = ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    folder = tmp_path_factory.mktemp("classes")
    star = stack(folder, COUNTS)
    for kind in (0, 1):
        write_map(folder / f"reference{kind}.mrc", density(kind).numpy(), PIXEL)
    return Case(star, (folder / "reference0.mrc", folder / "reference1.mrc"))


def framed(paths: tuple[Path, ...], table: ParticleSet, frame: Frame) -> list[Framed]:
    return in_frame([read_reference(path) for path in paths], frame)[0]


@pytest.fixture(scope="module")
def fixed_poses(case: Case, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_classify3d(case.config(tmp_path_factory.mktemp("job") / "job", align=False))


def test_one_reference_at_known_poses(fixed_poses: Path) -> None:
    assert right(classes_of(fixed_poses)) > 0.97


def test_outputs(fixed_poses: Path, case: Case) -> None:
    result = json.loads((fixed_poses / "result.json").read_text())
    frame, classes = frame_of(fixed_poses), classes_of(fixed_poses)
    posterior = frame.select(pl.col("^vitreousClassPosterior.*$").cast(pl.Float64)).to_numpy()
    assert posterior.sum(axis=1) == pytest.approx(1, abs=1e-4)
    assert (posterior.argmax(axis=1) + 1 == classes).all()
    given = read_star(case.star)["particles"].frame
    for name in ANGLES:
        kept = frame[name].cast(pl.Float64).to_numpy()
        assert kept == pytest.approx(given[name].cast(pl.Float64).to_numpy(), abs=1e-3)
    for number, entry in enumerate(result["classes"], 1):
        assert entry["particles"] == (classes == number).sum()
        assert entry["particles_expected"] == pytest.approx(
            posterior[:, number - 1].sum(), rel=1e-3
        )
        assert 15 < entry["resolution_0143"] < 30
        for name in ("", "_half1", "_half2"):
            volume, pixel_size = read_map(fixed_poses / f"class{number:03d}{name}.mrc")
            assert volume.shape == (BOX,) * 3 and pixel_size == PIXEL
    for table in result["flow"]:
        assert np.sum(table) == sum(COUNTS)
    report = write_report(fixed_poses).read_text()
    assert "2 classes" in report and "Who moved" in report


def test_classes_look_like_the_truth(fixed_poses: Path) -> None:
    classes = classes_of(fixed_poses)
    first = 1 + int(np.bincount(classes[: COUNTS[0]])[1:].argmax())
    found = {kind: read_map(fixed_poses / f"class{n:03d}.mrc")[0] for kind, n in
             ((0, first), (1, 3 - first))}  # fmt: skip
    difference, truth = found[1] - found[0], (density(1) - density(0)).numpy()
    assert np.corrcoef(difference.ravel(), truth.ravel())[0, 1] > 0.8


@pytest.mark.slow
def test_interrupted_it_goes_on_to_the_same_bits(
    fixed_poses: Path, case: Case, tmp_path: Path
) -> None:
    class Interrupted(Exception):
        pass

    def stop(event: dict) -> None:
        if event["event"] == "classification" and event["iteration"] == 3:
            raise Interrupted

    config = case.config(tmp_path / "job", align=False)
    with pytest.raises(Interrupted):
        run_classify3d(config, stop)
    run_classify3d(case.config(tmp_path / "job", align=False, resume=True))
    for name in ("class001.mrc", "class002_half1.mrc"):
        again, once = (read_map(job / name)[0] for job in (tmp_path / "job", fixed_poses))
        assert (again == once).all()
    assert frame_of(tmp_path / "job").equals(
        frame_of(fixed_poses).with_columns(frame_of(tmp_path / "job")["rlnImageName"])
    )
    with pytest.raises(VitreousError, match="other options"):
        run_classify3d(case.config(tmp_path / "job", align=False, resume=True, hard=True))


@pytest.mark.slow
def test_one_reference_searched_everywhere(case: Case, tmp_path: Path) -> None:
    job = run_classify3d(case.config(tmp_path / "job", angular_sampling=15.0, iterations=10))
    assert right(classes_of(job)) > 0.9


@pytest.mark.slow
def test_noise_ends_in_a_ball_given_as_decoy(case: Case, tmp_path: Path) -> None:
    star = stack(tmp_path / "data", (200,), noise=80)
    ball = torch.exp(-(frequency_radius(BOX, 3) ** 2) / 60)
    write_map(tmp_path / "ball.mrc", ball.numpy(), PIXEL)
    config = Classify3dConfig(
        star,
        reference=(case.references[0], tmp_path / "ball.mrc"),
        out=tmp_path / "job",
        mask_diameter=MASK,
        resolution_limit=25.0,
        angular_sampling=15.0,
        iterations=6,
    )
    job = run_classify3d(config)
    classes = classes_of(job)
    assert (classes[:200] == 1).mean() > 0.95
    assert (classes[200:] == 2).mean() >= 0.9
    assert json.loads((job / "result.json").read_text())["decoys"] == [2]


@pytest.mark.slow
def test_near_poses_that_are_somewhat_wrong(case: Case, tmp_path: Path) -> None:
    blocks = read_star(case.star)
    frame = blocks["particles"].frame
    angles = frame.select(pl.col(ANGLES).cast(pl.Float64)).to_numpy()
    truth = euler_to_matrix(*torch.from_numpy(angles.T.copy()))
    error = np.random.default_rng(4).normal(size=(len(frame), 3))
    turns = Rotation.from_rotvec(np.radians(10) * error / np.linalg.norm(error, axis=1)[:, None])
    moved = turns * Rotation.from_euler("ZYZ", angles, degrees=True)
    off = moved.as_euler("ZYZ", degrees=True)
    columns = {name: off[:, place] for place, name in enumerate(ANGLES)}
    names = frame["rlnImageName"].str.replace("all.mrcs", str(case.star.parent / "all.mrcs"))
    changed = blocks["particles"].with_frame(
        frame.with_columns(**{n: pl.Series(v) for n, v in columns.items()}, rlnImageName=names)
    )
    write_star(tmp_path / "off.star", (blocks | {"particles": changed}).values())
    near = Case(tmp_path / "off.star", case.references)
    job = run_classify3d(
        near.config(tmp_path / "job", local_search=15.0, angular_sampling=7.5, iterations=7)
    )
    assert right(classes_of(job)) > 0.9
    found = frame_of(job).select(pl.col(ANGLES).cast(pl.Float64)).to_numpy()
    left = angular_distance(euler_to_matrix(*torch.from_numpy(found.T.copy())), truth)
    assert float(left.median()) < 6


@pytest.mark.slow
def test_grey_level_and_hard_classes(case: Case) -> None:
    table = read_particles(case.star)
    frame = working_frame(common_grid(table), MASK, 20.0)
    config = case.config(Path("-"), align=False)
    device, operators = torch.device("cpu"), point_group("C1")
    images = load_planes(table, open_images(table), frame, device, ignore, CtfMode())
    around = near_given(config, operators, frame)
    way = NearPoses(images, given_poses(table, frame), image_numbers(table), around)
    references = framed(case.references, table, frame)
    maps = torch.stack([reference.volume for reference in references])
    state = begun(maps, images.power(1), frame.rings_at(20.0))
    index = torch.arange(len(table))
    own = at_images_intensity(state, way.searched, index[: COUNTS[0]], state.rings)
    sevenfold = begun(7 * maps, images.power(1), state.rings)
    again = at_images_intensity(sevenfold, way.searched, index[: COUNTS[0]], state.rings)
    assert torch.allclose(again.maps, own.maps, rtol=1e-3, atol=1e-6)
    # Least squares with the right map: the scale that the images were simulated with, but for
    # their normalisation by a background that holds some of the signal.
    truth = read_map(case.star.parent / "kind0" / "truth.mrc")[0]
    scale = float((own.maps[0] * maps[0]).sum() / maps[0].square().sum())
    wanted = float((truth * density(0).numpy()).sum() / density(0).square().sum())
    assert scale == pytest.approx(wanted, rel=0.08)

    every = way.searched(own, index, own.rings)
    divided = hard(way.searched)(own, index, own.rings)
    label = every.best.map_probability.argmax(dim=1)
    for number in (0, 1):  # at known poses a class's weight is that of its particles alone
        alone = way.searched(
            begun(own.maps[:1], own.noise, own.rings), index[label == number], own.rings
        )
        assert torch.allclose(divided.sums.weight[number], alone.sums.weight[0], rtol=1e-4)


def test_references_come_to_the_particles_grid(case: Case, tmp_path: Path) -> None:
    table = read_particles(case.star)
    frame = working_frame(common_grid(table), MASK, 20.0)
    write_map(tmp_path / "finer.mrc", density(0, 48, 6.0).numpy(), 6.0)
    finer, same = framed((tmp_path / "finer.mrc", case.references[0]), table, frame)
    pair = torch.stack([finer.volume.flatten(), same.volume.flatten()])
    assert float(torch.corrcoef(pair)[0, 1]) > 0.99


def mirrored(path: Path) -> None:
    write_map(path, np.roll(density(1, 48, 6.0).numpy()[::-1], 1, 0), 6.0)


def missized(path: Path) -> None:
    write_map(path, density(1, 48, 6.0).numpy(), 4.8)


@pytest.mark.parametrize(
    "make,words", [(mirrored, "the hands differ"), (missized, r"at (5\.9|6)\d* A/px")]
)
@pytest.mark.slow
def test_references_that_differ_in_hand_or_pixel_size(
    case: Case, tmp_path: Path, make: Callable[[Path], None], words: str
) -> None:
    make(tmp_path / "other.mrc")
    table = read_particles(case.star)
    frame = working_frame(common_grid(table), MASK, 16.5)
    paths = (case.references[1], tmp_path / "other.mrc")
    references = framed(paths, table, frame)
    with pytest.raises(VitreousError, match=words):
        compare_references(references, frame, stop=True)
    assert len(compare_references(references, frame, stop=False)) == 1
    both = framed(case.references, table, frame)
    assert compare_references(both, frame, stop=True) == []


@pytest.mark.parametrize(
    "options,words",
    [
        ({"reference": ()}, "no reference"),
        ({"classes": 40}, "too few for 40 classes"),
        ({"fixed": "2"}, "--fixed"),
        ({"align": False, "local_search": 10.0}, "keeps all poses"),
        ({"mask": Path("mask.mrc")}, "does not settle"),
        ({"iterations": 0}, "--iterations"),
        ({"local_search": 90.0}, "--local-search"),
        ({"symmetry": "Q7"}, "Q7"),
        ({"reference": (Path("nowhere.mrc"),)}, "nowhere.mrc"),
    ],
)
def test_bad_input(case: Case, tmp_path: Path, options: dict, words: str) -> None:
    with pytest.raises(VitreousError, match=words):
        run_classify3d(case.config(tmp_path / "job", **options))
    assert not (tmp_path / "job").exists()


@pytest.mark.parametrize("options", [{"align": False}, {"local_search": 10.0}])
def test_poses_are_needed(case: Case, tmp_path: Path, options: dict) -> None:
    blocks = read_star(case.star)
    frame = blocks["particles"].frame
    names = frame["rlnImageName"].str.replace("all.mrcs", str(case.star.parent / "all.mrcs"))
    bare = blocks["particles"].with_frame(frame.drop(ANGLES).with_columns(rlnImageName=names))
    write_star(tmp_path / "bare.star", (blocks | {"particles": bare}).values())
    config = Case(tmp_path / "bare.star", case.references).config(tmp_path / "job", **options)
    with pytest.raises(VitreousError, match="rlnAngleRot"):
        run_classify3d(config)


def test_a_reference_wider_than_the_images(case: Case, tmp_path: Path) -> None:
    write_map(tmp_path / "wide.mrc", density(0).numpy(), 3 * PIXEL)
    with pytest.raises(VitreousError, match=r"A across.*pixel size"):
        run_classify3d(case.config(tmp_path / "job", reference=(tmp_path / "wide.mrc",)))


@pytest.mark.slow
def test_an_empty_class_is_told_of(case: Case, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    write_map(tmp_path / "junk.mrc", rng.normal(size=(BOX,) * 3), PIXEL)
    job = run_classify3d(
        case.config(
            tmp_path / "job",
            reference=(*case.references, tmp_path / "junk.mrc"),
            classes=None,
            align=False,
            fixed="3",
            reference_greyscale="absolute",
        )
    )
    result = json.loads((job / "result.json").read_text())
    assert result["classes"][2]["particles"] == 0
    assert "Class 3 holds hardly any particles." in result["warnings"]
