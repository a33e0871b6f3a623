"""Classes that hold two molecules, and what a job does before it gives up."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from class_samples import BOX, PIXEL, stack
from conftest import simulated

from vitreous.config.abinit import AbinitConfig
from vitreous.errors import OptionError
from vitreous.io.mrc import read_map
from vitreous.jobs.abinit.abinit import run_abinit
from vitreous.jobs.abinit.begin import with_effort
from vitreous.math.gaussians import gaussian_sum
from vitreous.particles.files import read_particles
from vitreous.particles.stack import open_images
from vitreous.runs.folder import ignore
from vitreous.schedules.abinit import several, splitting
from vitreous.schedules.abinit.context import first_state
from vitreous.schedules.abinit.inputs import AbinitInputs, context_of
from vitreous.schedules.abinit.schedule import batches, split_steps, starts_of
from vitreous.schedules.abinit.splitting import split_classes
from vitreous.validate.labels import contingency, matched

EACH = 300
FEW = {"initial_iterations": 2, "between_iterations": 2, "final_iterations": 1}


def molecule(seed: int) -> torch.Tensor:
    """Gaussians at random places within a ball of 80 angstrom."""
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(16, 3))
    points *= 65 * rng.uniform(size=(16, 1)) ** (1 / 3) / np.linalg.norm(points, axis=1)[:, None]
    return gaussian_sum(points, np.ones(16), 10.0, BOX, PIXEL).float()


def mixed(folder: Path, molecules: int) -> Path:
    """So many molecules, one after the other."""
    each = (EACH,) * molecules
    return stack(folder, each, made=lambda kind: molecule(1 + kind), snr=0.5, seed=1)


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mixed(tmp_path_factory.mktemp("three"), 3)


@pytest.fixture(scope="module")
def mixture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mixed(tmp_path_factory.mktemp("mixture"), 2)


def share_right(star: Path, maps: list[torch.Tensor]) -> float:
    """Share of the particles, as many of each molecule, that end in one class with their own.

    The classes begin with maps of what the search is stuck with.
    """
    config = AbinitConfig(star, out=Path("o"), classes=len(maps), final_resolution=20.0)
    table = read_particles(star)
    task = AbinitInputs(
        config, table, open_images(table), 180.0, torch.device("cpu"), Path("o"), ""
    )
    context = context_of(task, ignore)
    state = first_state(context, 0)
    scale = state.maps[0].norm() / molecule(1).norm()
    state = replace(state, maps=scale * torch.stack(maps), rings=context.frame.rings_at(20.0))
    split, _ = split_classes(context, state, ignore)
    every = torch.arange(len(table))
    best = context.search(split, every, context.places(20.0), accumulate=False).best
    labels = best.map_probability.argmax(dim=1).numpy()
    return matched(contingency(np.arange(len(table)) // EACH, labels, len(maps)))[1]


@pytest.mark.slow
def test_a_class_of_two_molecules_is_split_where_another_is_empty(mixture: Path) -> None:
    merged = (molecule(1) + molecule(2)) / 2
    assert share_right(mixture, [merged, torch.zeros_like(merged)]) > 0.9


@pytest.mark.slow
def test_a_molecule_spread_over_all_classes_is_gathered_in_an_empty_one(
    three: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(splitting, "_LEAST_HALF", 0.6)  # no split is kept
    stuck = [molecule(n) + molecule(3) / 2 for n in (1, 2)]
    assert share_right(three, [*stuck, torch.zeros_like(stuck[0])]) > 0.9


def test_a_class_is_split_over_rising_resolution_with_its_own_particles_alone() -> None:
    config = AbinitConfig(Path("p.star"), out=Path("o"), final_resolution=12.0)
    steps = split_steps(config, 150)
    assert {step.batch for step in steps} == {150}
    assert steps[0].resolution == pytest.approx(20.0) and steps[-1].resolution == 12.0


@pytest.mark.parametrize(
    "effort,starts,batch", [("low", 3, 100), ("normal", 6, 100), ("high", 12, 200)]
)
def test_effort_sets_starts_and_batches(effort: str, starts: int, batch: int) -> None:
    config = AbinitConfig(Path("p.star"), out=Path("o"), effort=effort)
    assert starts_of(config) == starts and batches(config)[0] == batch
    assert batches(replace(config, initial_batch=40)) == (40, batches(config)[1])
    assert with_effort(config).symmetry == ("auto" if effort == "high" else "C1")
    assert with_effort(replace(config, symmetry="D2")).symmetry == "D2"


def test_an_effort_that_there_is_not_is_named(small_stack: Path, tmp_path: Path) -> None:
    config = AbinitConfig(small_stack, out=tmp_path / "o", effort="great")
    with pytest.raises(OptionError, match="none of low, normal, high"):
        run_abinit(config)


def events_until(name: str, count: int):
    """Raise an interrupt at the so-manieth event of a name."""
    seen = 0

    def on_event(event: dict) -> None:
        nonlocal seen
        seen += event["event"] == name
        if seen == count:
            raise KeyboardInterrupt

    return on_event


@pytest.mark.slow
def test_a_search_that_finds_nothing_is_begun_anew_and_resumes_there(tmp_path: Path) -> None:
    star = simulated(tmp_path / "data", 200, snr=0.02, seed=5)
    config = AbinitConfig(
        star, out=tmp_path / "a", mask_diameter=200.0, final_resolution=26.0, angular_sampling=30.0,
        polish_passes=1, write_every=1, **FEW,
    )  # fmt: skip
    job = run_abinit(config)
    result = json.loads((job / "result.json").read_text())
    assert "begun anew" in result["sentence"] and len(result["starts"]) == 12
    iterations = 6 * 3 + 3 * 2  # those of the first starts, at the least
    stopped = replace(config, out=tmp_path / "b")
    with pytest.raises(KeyboardInterrupt):
        run_abinit(stopped, events_until("iteration", iterations + 12))
    run_abinit(replace(stopped, resume=True))
    first, second = (read_map(tmp_path / name / "class001.mrc")[0] for name in "ab")
    np.testing.assert_array_equal(first, second)


@pytest.mark.slow
def test_high_effort_tries_several_classes_before_it_gives_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(several, "_CLASSES", 2)  # half of the time
    star = simulated(tmp_path / "data", 200, snr=0.02, seed=5)
    config = AbinitConfig(
        star, out=tmp_path / "a", mask_diameter=200.0, final_resolution=26.0, angular_sampling=30.0,
        polish_passes=1, effort="high", starts=4, **FEW,
    )  # fmt: skip
    told: list[dict] = []
    result = json.loads((run_abinit(config, told.append) / "result.json").read_text())
    assert result["verdict"] != "solved"
    notes = [event["text"] for event in told if event["event"] == "note"]
    assert any("2 classes, which takes about" in note for note in notes)
    assert (tmp_path / "a" / "with_2_classes").is_dir()
    assert result["symmetry_found"]
