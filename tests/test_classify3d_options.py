"""3D classification's options, each against labels that are known."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
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

from vitreous.engine import memory
from vitreous.errors import InputError
from vitreous.imaging.masks import soft_sphere
from vitreous.io.mrc import read_map, write_map
from vitreous.jobs.classify3d.classify3d import run_classify3d
from vitreous.math.gaussians import gaussian_sum
from vitreous.math.symmetry import point_group
from vitreous.schedules.class3d import sort
from vitreous.schedules.class3d.begin import begun
from vitreous.schedules.class3d.steps import even_class_priors
from vitreous.validate.symmetry.rotate import rotate_map


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    folder = tmp_path_factory.mktemp("classes")
    write_map(folder / "reference.mrc", density(0).numpy(), PIXEL)
    return Case(stack(folder, COUNTS), (folder / "reference.mrc",) * 2)


def test_classes_and_optics_groups_begin_with_numbers_of_their_own() -> None:
    state = begun(torch.zeros(3, 8, 8, 8), torch.ones(2, 5), 4)
    assert state.class_priors.tolist() == pytest.approx([1 / 3] * 3)
    assert state.scale.tolist() == [1, 1]


@pytest.mark.slow
def test_fast_subsets_leave_no_particle_behind(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sort, "_SUBSET", 60)
    job = run_classify3d(
        case.config(tmp_path / "job", align=False, fast_subsets=True, iterations=7)
    )
    assert right(classes_of(job)) > 0.95
    flow = [np.sum(table) for table in json.loads((job / "result.json").read_text())["flow"]]
    assert flow[0] == 2 * 60  # the first passes see a part of them
    assert flow[-1] == sum(COUNTS)


def test_memory_is_checked_before_anything_is_touched(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "free_memory", lambda device: 10**8)
    with pytest.raises(InputError, match=r"GB of memory beside the images, and may take 0.1 GB"):
        run_classify3d(case.config(tmp_path / "jobs" / "job"))
    assert not (tmp_path / "jobs").exists()


@pytest.mark.slow
def test_killed_while_searching_it_goes_on_to_the_same_bits(case: Case, tmp_path: Path) -> None:
    options = {"angular_sampling": 15.0, "iterations": 4}
    once = run_classify3d(case.config(tmp_path / "once", **options))
    config = case.config(tmp_path / "killed", resume=True, **options)
    command = f"""classify3d {case.star} --reference {config.reference[0]} --out {config.out}
        --classes 2 --resolution-limit 20 --mask-diameter {MASK} --angular-sampling 15
        --iterations 4"""
    program = [sys.executable, "-m", "vitreous", *command.split()]
    job = subprocess.Popen(program, stdout=subprocess.DEVNULL)
    checkpoint = config.out / "checkpoint.safetensors"
    while not checkpoint.is_file():
        assert job.poll() is None
        time.sleep(0.05)
    job.kill()
    assert job.wait() == -signal.SIGKILL and not (config.out / "result.json").exists()
    run_classify3d(config)
    for name in ("class001.mrc", "class002_half1.mrc"):
        assert (read_map(once / name)[0] == read_map(config.out / name)[0]).all()
    names = frame_of(once)["rlnImageName"]
    assert frame_of(config.out).with_columns(rlnImageName=names).equals(frame_of(once))


ARM = np.array([[-62.0, -20.0, 10.0], [-40.0, 55.0, -25.0]])
"""Two places of a lump of residues outside the focus mask."""


def two_fold(kind: int) -> torch.Tensor:
    """The molecule with a domain (bit 0) and, far from it, a lump (bit 1) in one of two places."""
    lump = np.random.default_rng(5).normal(size=(150, 3)) * 7 + ARM[kind // 2]
    return density(kind % 2) + gaussian_sum(lump, np.ones(150), 6.4, BOX, PIXEL)


@pytest.fixture(scope="module")
def independent(tmp_path_factory: pytest.TempPathFactory) -> Case:
    """Two changes of the molecule, each in half of the particles, whichever the other."""
    folder = tmp_path_factory.mktemp("independent")
    write_map(folder / "reference.mrc", two_fold(0).numpy(), PIXEL)
    focus = soft_sphere(BOX, 44 / PIXEL, 3.0).roll((2, 0, 4), (0, 1, 2))
    write_map(folder / "mask.mrc", focus.numpy(), PIXEL)
    star = stack(folder, (75, 75, 75, 75), made=two_fold)
    return Case(star, (folder / "reference.mrc",) * 2)


def agreement(classes: np.ndarray, bit: int) -> float:
    """Share of particles whose class tells a bit of their kind, whichever way round."""
    truth = 1 + (np.repeat(np.arange(4), 75) >> bit & 1)
    share = float((classes == truth).mean())
    return max(share, 1 - share)


@pytest.mark.slow
def test_a_focus_mask_sorts_by_what_lies_within(independent: Case, tmp_path: Path) -> None:
    mask = independent.star.parent / "mask.mrc"
    focused = run_classify3d(
        independent.config(tmp_path / "in", align=False, mask=mask, iterations=5)
    )
    whole = run_classify3d(independent.config(tmp_path / "all", align=False, iterations=5))
    assert agreement(classes_of(focused), 0) > 0.9
    assert agreement(classes_of(focused), 1) < 0.65
    assert agreement(classes_of(whole), 1) > 0.9
    outside = read_map(mask)[0] < 1e-3
    for name in ("class001.mrc", "class002.mrc"):
        assert np.abs(read_map(focused / name)[0])[outside].max() < 0.05


def threefold(kind: int) -> torch.Tensor:
    """Three lumps on a stalk; each wide and low or (1) narrow and high."""
    rng = np.random.default_rng(6)
    lump = rng.normal(size=(120, 3)) * 9 + [55.0 - 25 * kind, 0.0, -40 + 40 * kind]
    stalk = rng.normal(size=(60, 3)) * [8, 8, 15] + [14.0, 10.0, 35.0]
    third = np.concatenate([lump, stalk])
    every = np.concatenate([third @ turn.T for turn in point_group("C3").numpy()])
    return gaussian_sum(every, np.ones(len(every)), 6.4, BOX, PIXEL)


def test_even_shares_of_particles_that_are_sure() -> None:
    state = begun(torch.zeros(2, 4, 4, 4), torch.ones(1, 3), 3)
    sure = torch.tensor([[1.0, 0.0]] * 45 + [[0.0, 1.0]] * 30)
    for _ in range(40):  # folds of as many passes, each from the last one's shares
        state = replace(state, class_priors=even_class_priors(state, sure))
    assert 0 < state.class_priors[0] < 0.5 < state.class_priors[1] <= 1
    unsure = torch.tensor([[0.6, 0.4], [0.7, 0.3]])
    even = even_class_priors(begun(state.maps, state.noise, 3), unsure)
    odds = unsure / unsure.sum(dim=1, keepdim=True) * even
    assert (odds / odds.sum(dim=1, keepdim=True)).mean(dim=0) == pytest.approx(0.5, abs=1e-4)


def self_similarity(path: Path) -> float:
    """Correlation of a map with itself turned by a third of a turn about z."""
    volume = torch.from_numpy(read_map(path)[0])
    other = rotate_map(volume, point_group("C3")[1].numpy(), np.zeros(3))
    return float(torch.corrcoef(torch.stack([volume.flatten(), other.flatten()]))[0, 1])


@pytest.mark.slow
def test_imposed_symmetry(tmp_path: Path) -> None:
    star = stack(tmp_path, COUNTS, made=threefold)
    for kind in (0, 1):
        write_map(tmp_path / f"reference{kind}.mrc", threefold(kind).numpy(), PIXEL)
    case = Case(star, (tmp_path / "reference0.mrc", tmp_path / "reference1.mrc"))
    options = {"symmetry": "C3", "angular_sampling": 15.0, "iterations": 5}
    job = run_classify3d(case.config(tmp_path / "job", **options))
    assert right(classes_of(job)) > 0.95
    without = run_classify3d(case.config(tmp_path / "without", align=False, iterations=5))
    assert right(classes_of(without)) > 0.95
    for name in ("class001_half1.mrc", "class002_half1.mrc"):  # their noise shows what was imposed
        assert self_similarity(job / name) > 0.97 > 0.9 > self_similarity(without / name)
