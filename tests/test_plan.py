"""What a job will take, told before it runs: counted, checked as the job is, and nothing begun."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import simulated

from vitreous.cli import app
from vitreous.config.abinit import AbinitConfig
from vitreous.config.classify import Classify3dConfig
from vitreous.config.classify2d import Class2dConfig
from vitreous.config.maps import ReconstructConfig
from vitreous.config.refine import RefineConfig
from vitreous.engine.work import Work, half_plane_samples, local_pass, ring_pass
from vitreous.errors import VitreousError
from vitreous.jobs.abinit.abinit import run_abinit
from vitreous.jobs.class2d.class2d import run_class2d
from vitreous.jobs.classify3d.classify3d import run_classify3d
from vitreous.jobs.maps.reconstruct import run_reconstruct
from vitreous.jobs.plan import plan as plans
from vitreous.jobs.plan import speeds
from vitreous.jobs.plan.plan import Planned, run_plan
from vitreous.jobs.refine.refine import run_refine
from vitreous.math.so3 import orientation_grid, orientations_at
from vitreous.math.symmetry import point_group
from vitreous.report.plan import plan_lines
from vitreous.runs.log import read_events
from vitreous.runs.user_cache import cache_folder, keep, kept

COUNT = 200
ONES = Work(**dict.fromkeys([field.name for field in fields(Work)], 1.0))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "vitreous"


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every operation takes a second."""
    monkeypatch.setattr(plans, "speeds_on", lambda _: ONES)


@pytest.fixture(scope="module")
def star(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulated(tmp_path_factory.mktemp("plan") / "data", COUNT, snr=0.3, seed=3)


def jobs(star: Path, out: Path) -> Iterator[tuple[Planned, Any]]:
    truth = star.parent / "truth.mrc"
    yield AbinitConfig(star, out=out, device="cpu"), run_abinit
    yield RefineConfig(star, reference=truth, out=out, device="cpu"), run_refine
    yield Classify3dConfig(star, reference=(truth,), out=out, device="cpu"), run_classify3d
    yield Class2dConfig(star, out=out, device="cpu"), run_class2d
    yield ReconstructConfig(star, out=out, device="cpu"), run_reconstruct


# What is counted


def test_a_pass_counts_every_image_orientation_map_and_ring() -> None:
    grid = orientation_grid(2, point_group("C1"))
    orientations = len(grid.directions) * grid.n_psi
    assert orientations_at(15.0, 1) == orientations
    assert ring_pass(30, orientations, 10, 2).products == 2 * 30 * orientations * (14 + 10)
    assert ring_pass(30, orientations, 10, 2).voxels == 2 * (2 * (11 * 2 + 1) + 1) ** 3


def test_samples_of_the_half_plane() -> None:
    axis = torch.arange(-40, 41)
    inside = (axis[:, None] ** 2 + axis**2 < 30**2).sum() / 2
    assert half_plane_samples(30) == pytest.approx(float(inside), rel=0.01)
    assert local_pass(5, 7, 30, 1).slices == 35 * half_plane_samples(30)


def test_work_adds_up_and_takes_time() -> None:
    work = Work(pixels=3.0, passes=1.0) + Work(passes=1.0).times(4)
    assert work == Work(pixels=3.0, passes=5.0)
    assert work.seconds(Work(pixels=0.5, passes=2.0)) == 11.5


@pytest.mark.usefixtures("known")
def test_more_to_do_takes_longer(star: Path, tmp_path: Path) -> None:
    truth = star.parent / "truth.mrc"
    one = AbinitConfig(star, out=tmp_path / "job", starts=1, device="cpu")
    least = run_plan(one)
    assert (
        least.seconds["starts compared"]
        < run_plan(replace(one, starts=6)).seconds["starts compared"]
    )
    # Twice the maps are twice the work of each iteration.
    two = run_plan(replace(one, classes=2, skip_anneal=True)).seconds["iterations"]
    assert two == pytest.approx(2 * least.seconds["iterations"], rel=0.01)
    own = RefineConfig(star, reference=truth, out=tmp_path / "job", local_search=7.5, device="cpu")
    local = run_plan(own)
    assert "starts tried on a sample" not in local.seconds
    mates = run_plan(replace(own, relax_symmetry="C2"))
    assert mates.total_seconds > 1.5 * local.total_seconds
    sorting = Classify3dConfig(star, reference=(truth,), out=tmp_path / "job", device="cpu")
    poses = run_plan(replace(sorting, align=False))
    assert poses.total_seconds < run_plan(sorting).total_seconds
    flat = Class2dConfig(star, out=tmp_path / "job", classes=10, device="cpu")
    twice = run_plan(replace(flat, rounds=2)).seconds["mini-batches"]
    assert twice == pytest.approx(2 * run_plan(flat).seconds["mini-batches"])
    # A class more is an average more that every image of the last pass is compared with.
    more = run_plan(replace(flat, classes=20)).seconds["last pass"]
    assert more == pytest.approx(2 * run_plan(flat).seconds["last pass"], rel=0.01)
    once = ReconstructConfig(star, out=tmp_path / "job", device="cpu")
    # Under C3 each image is put in at three places.
    turned = run_plan(replace(once, symmetry="C3")).seconds["inserting"]
    assert turned == pytest.approx(3 * run_plan(once).seconds["inserting"])


# Memory, and where images are kept


@pytest.mark.usefixtures("known")
def test_memory_is_that_which_the_job_reckons(star: Path, tmp_path: Path) -> None:
    config = ReconstructConfig(star, out=tmp_path / "job", device="cpu")
    plan = run_plan(config)
    run_reconstruct(config)
    told = next(e for e in read_events(tmp_path / "job" / "log.jsonl") if e["event"] == "memory")
    assert sum(plan.host.values()) / 1e9 == pytest.approx(told["needed_GB"], abs=0.051)
    assert plan.on_device == {} and plan.images.all == 0


@pytest.mark.usefixtures("known")
def test_images_that_memory_does_not_hold(
    star: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth = star.parent / "truth.mrc"
    config = RefineConfig(star, reference=truth, out=tmp_path / "job", device="cpu")
    monkeypatch.setattr("vitreous.engine.memory.held_memory", lambda: 0)
    whole = run_plan(config)
    assert whole.images.held == whole.images.all and not whole.images.read_again
    least = sum(size for name, size in whole.host.items() if name != "images")
    tight = replace(config, memory=(least + whole.images.all / 4) / 1e9)
    found = run_plan(tight).images
    beside = run_plan(replace(tight, scratch=tmp_path)).images
    assert found.held == pytest.approx(found.all / 4, rel=0.01) and found.read_again
    # Half as many bytes a number on the disk, and none read again.
    assert beside.scratch == pytest.approx((found.all - found.held) / 2, rel=0.01)
    assert not beside.read_again
    assert list(tmp_path.iterdir()) == []


# As the job, but for the doing


@pytest.mark.usefixtures("known")
def test_nothing_is_written(star: Path, tmp_path: Path) -> None:
    before = sorted(star.parent.iterdir())
    for config, _ in jobs(star, tmp_path / "deep" / "job"):
        plan = run_plan(config)
        assert plan.total_seconds > 0 and plan.particles == COUNT
        assert json.loads(json.dumps(plan.record()))["seconds"].keys() == plan.seconds.keys()
        assert list(plan_lines(plan))[-1].endswith("Nothing was begun.")
    assert list(tmp_path.iterdir()) == []
    assert sorted(star.parent.iterdir()) == before


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize(
    "wrong",
    [
        {"particles": Path("nowhere.star")},
        {"device": "nowhere"},
        {"threads": 0},
        {"symmetry": "Q7"},
        {"mask_diameter": 1e6},
        {"out": "taken"},
        {"out": "data"},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_bad_input_is_the_same_error(star: Path, tmp_path: Path, wrong: dict[str, Any]) -> None:
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "file").touch()
    if "out" in wrong:
        wrong = {"out": {"taken": taken, "data": star.parent}[wrong["out"]]}
    for config, run in jobs(star, tmp_path / "job"):
        if not wrong.keys() <= {field.name for field in fields(config)}:
            continue  # 2D classification has no symmetry
        errors = []
        for function in (run_plan, run):
            with pytest.raises(VitreousError) as caught:
                function(replace(config, **wrong))
            errors.append(caught.value.line())
        assert errors[0] == errors[1]


@pytest.mark.usefixtures("known")
def test_on_the_command_line(
    star: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["plan", "reconstruct", str(star), "--out", str(tmp_path / "job"), "--device", "cpu"]
    run = {"exit_on_error": False, "result_action": "return_value"}
    app([*words, "--json", "-"], **run)
    record = json.loads(capsys.readouterr().out)
    assert record["job"] == "reconstruct" and record["particles"] == COUNT
    app([*words, "--json", str(tmp_path / "plan.json")], **run)
    assert json.loads((tmp_path / "plan.json").read_text())["seconds"] == record["seconds"]
    assert "inserting" in capsys.readouterr().out
    with pytest.raises(VitreousError, match="is there already"):
        app([*words, "--json", str(tmp_path / "plan.json")], **run)
    with pytest.raises(VitreousError, match="is the input"):
        app([*words, "--json", str(star)], **run)


# What was measured on the machine


def test_speeds_are_measured_once_for_a_device_and_number_of_threads(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = []

    def measure(device: torch.device) -> Work:
        measured.append(device)
        return replace(ONES, pixels=float(len(measured)))

    monkeypatch.setattr(speeds, "measure_speeds", measure)
    here = torch.device("cpu")
    first = speeds.speeds_on(here)
    assert speeds.speeds_on(here) == first and len(measured) == 1
    assert [path.name for path in cache.iterdir()] == ["speeds.json"]
    monkeypatch.setattr(torch, "get_num_threads", lambda: 77)
    assert speeds.speeds_on(here).pixels == 2
    (entry, _) = json.loads((cache / "speeds.json").read_text()).values()
    assert entry == asdict(first)
    (cache / "speeds.json").write_text("{ damaged")
    assert speeds.speeds_on(here).pixels == 3


def test_cache_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "not/absolute")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("sys.platform", "linux")
    assert cache_folder() == tmp_path / ".cache" / "vitreous"
    monkeypatch.setattr("sys.platform", "darwin")
    assert cache_folder() == tmp_path / "Library" / "Caches" / "vitreous"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own" / "vitreous"
    assert kept("one.json", "key") is None
    keep("one.json", "key", 3)
    keep("one.json", "other", 4)
    assert (kept("one.json", "key"), kept("one.json", "other")) == (3, 4)
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    keep("one.json", "key", 3)  # which cannot be written: nothing is lost but time
    assert kept("one.json", "key") is None


@pytest.mark.slow
def test_speeds_of_this_machine() -> None:
    found = asdict(speeds.measure_speeds(torch.device("cpu")))
    assert all(0 < value < 60 for value in found.values())
