"""Images are the same whether memory holds them, a scratch file does, or they are read again."""

from __future__ import annotations

import shutil
import threading
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import simulated

from vitreous.config.abinit import AbinitConfig
from vitreous.engine.images import CtfMode, working_frame
from vitreous.engine.memory import MemoryPlan, usable
from vitreous.engine.planes import load_planes
from vitreous.engine.rings import load_rings
from vitreous.engine.searches.tiles import Tiling
from vitreous.errors import OptionError
from vitreous.io.mrc import read_map
from vitreous.io.star import read_star
from vitreous.jobs.abinit.abinit import run_abinit
from vitreous.math.rotations import angular_distance, euler_to_matrix
from vitreous.particles.files import read_particles
from vitreous.particles.grid import common_grid
from vitreous.particles.loader import Room, TransformCache, ahead
from vitreous.particles.stack import open_images
from vitreous.runs.folder import ignore

CPU = torch.device("cpu")
ROWS, WIDTH = 40, 6
Usage = namedtuple("Usage", "total used free")


def rows_of(rows: np.ndarray) -> torch.Tensor:
    """Numbers that tell row and place."""
    real = torch.from_numpy(rows).float()[:, None] + torch.arange(WIDTH) / 8
    return torch.complex(real, -real)


@pytest.mark.parametrize("kept", [0, 1, 17, ROWS])
@pytest.mark.parametrize("scratch", [False, True])
def test_rows_are_those_that_were_put(tmp_path: Path, kept: int, scratch: bool) -> None:
    made: list[int] = []

    def make(rows: np.ndarray) -> torch.Tensor:
        made.extend(rows.tolist())
        return rows_of(rows)

    room = Room(8 * WIDTH * kept, tmp_path if scratch else None)
    cache = TransformCache(range(ROWS), (WIDTH,), make, room, CPU)
    for part in np.split(np.arange(ROWS), 4):
        cache.put(part, rows_of(part))
    for index in (torch.arange(ROWS), torch.tensor([39, 0, 16, 17, 5]), torch.tensor([3])):
        torch.testing.assert_close(cache.at(index), rows_of(index.numpy()), rtol=0, atol=0.02)
    beyond = set(range(kept, ROWS))
    assert set(made) == (set() if scratch else beyond)
    assert not list(tmp_path.iterdir())  # the file has no name


def test_a_scratch_folder_that_is_not_there_or_too_small_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cache(folder: Path) -> TransformCache:
        return TransformCache(range(ROWS), (WIDTH,), rows_of, Room(0, folder), CPU)

    with pytest.raises(OptionError, match="gone cannot be written to"):
        cache(tmp_path / "gone")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(10, 10, 10))
    with pytest.raises(OptionError, match=r"has 0\.0 GB free, the images need"):
        cache(tmp_path)


@pytest.mark.parametrize("load", [load_rings, load_planes])
def test_images_that_memory_does_not_hold_are_read_again(small_stack: Path, load) -> None:
    table = read_particles(small_stack)
    frame = working_frame(common_grid(table), 200.0, 20.0)
    given = (table, open_images(table), frame, CPU, ignore, CtfMode())
    whole, part = load(*given), load(*given, Room(100_000))
    index = torch.tensor([299, 2, 250, 0])
    grid = frame.polar if load is load_rings else whole.plane
    for one, other in zip(whole.at(index, grid), part.at(index, grid), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_what_memory_holds_is_shared_out_in_proportion() -> None:
    plan = MemoryPlan({"maps": 2e9}, int(5e9), Tiling(), {"images": 4e9, "last": 8e9})
    assert plan.held == pytest.approx({"images": 1e9, "last": 2e9})
    assert plan.needed == pytest.approx(5e9) and plan.room("last").memory == pytest.approx(2e9)
    much = MemoryPlan({"maps": 2e9}, int(50e9), Tiling(), {"images": 4e9})
    assert much.held == {"images": 4e9}


def test_a_scratch_folder_is_checked_though_memory_holds_all(
    small_stack: Path, tmp_path: Path
) -> None:
    for scratch in (tmp_path / "gone", small_stack):
        config = AbinitConfig(small_stack, out=tmp_path / "job", scratch=scratch)
        with pytest.raises(OptionError, match=f"--scratch: {scratch} is no folder that can be"):
            run_abinit(config)
    assert not (tmp_path / "job").exists()


def test_the_memory_asked_for_is_the_most(tmp_path: Path) -> None:
    config = AbinitConfig(Path("p.star"), out=tmp_path, memory=0.001)
    assert usable(config, CPU) == 1_000_000
    with pytest.raises(OptionError, match="--memory: 0 GB is no memory"):
        usable(AbinitConfig(Path("p.star"), out=tmp_path, memory=0.0), CPU)


@pytest.mark.slow
def test_a_job_in_little_memory_ends_in_the_same_map(
    small_stack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Passes of so few particles make rounding ever larger: few of them, in float32.
    few = {"initial_iterations": 2, "between_iterations": 3, "final_iterations": 1, "starts": 1}
    exact = {"polish_passes": 1, "precision": "float32", "final_resolution": 20.0}
    maps = []
    for name in ("whole", "part"):
        run_abinit(AbinitConfig(small_stack, out=tmp_path / name, **few, **exact))
        maps.append(read_map(tmp_path / name / "class001.mrc")[0])
        # Of 300 images on rings some 20 fit, and fewer of those on half-planes.
        monkeypatch.setattr(MemoryPlan, "room", lambda plan, purpose, spread=True: Room(50_000))
    np.testing.assert_allclose(maps[1], maps[0], rtol=1e-3, atol=1e-3 * np.abs(maps[0]).max())


def test_the_next_is_made_while_one_is_used() -> None:
    began: list[int] = []
    ready = threading.Event()

    def make(item: int) -> int:
        began.append(item)
        if item == 1:
            ready.set()
        return item**2

    for item, made in ahead(range(4), make):
        assert made == item**2
        if item == 0:
            assert ready.wait(10)
    assert began == [0, 1, 2, 3] and list(ahead([], make)) == []


def turns_between(path: Path, some: np.ndarray) -> torch.Tensor:
    """Angles in degrees between the orientations of each two of some particles."""
    frame = read_star(path)["particles"].frame[some]
    angles = [
        torch.from_numpy(frame[f"rlnAngle{name}"].cast(float).to_numpy().copy())
        for name in ("Rot", "Tilt", "Psi")
    ]
    matrices = euler_to_matrix(*angles)
    pairs = torch.combinations(torch.arange(len(some)))
    return angular_distance(matrices[pairs[:, 0]], matrices[pairs[:, 1]])


@pytest.mark.slow
def test_particles_that_were_not_used_get_poses_too(tmp_path: Path) -> None:
    star, out = simulated(tmp_path / "data", 600, snr=0.5, seed=4), tmp_path / "job"
    few = {"mask_diameter": 200.0, "final_resolution": 17.0, "starts": 2, "polish_passes": 1}
    run_abinit(AbinitConfig(star, out=out, particles_used=300, pose_all=True, **few))
    used = np.linspace(0, 599, 300).round().astype(int)
    rest = np.setdiff1d(np.arange(600), used)
    # Angles between particles are the same in a map of either hand, however it is turned.
    error = [
        (turns_between(out / "particles.star", some) - turns_between(star, some)).abs().median()
        for some in (rest, used)
    ]
    assert error[0] < 10 and error[0] < 1.2 * error[1]
