"""The plan of a search: its iterations, its angular steps, the memory it asks for."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from vitreous.config.abinit import AbinitConfig
from vitreous.engine import memory
from vitreous.engine.images import Frame, working_frame
from vitreous.errors import InputError
from vitreous.imaging.polar import polar_grid
from vitreous.jobs.abinit import checks
from vitreous.jobs.abinit.abinit import run_abinit
from vitreous.particles.files import read_particles
from vitreous.particles.grid import Grid, common_grid
from vitreous.schedules.abinit.memory import memory_plan
from vitreous.schedules.abinit.schedule import (
    angular_step,
    last_angular_step,
    noise_factor,
    rounds,
    schedule,
)
from vitreous.schedules.abinit.temperature import inflated, is_steered, steered

TUTORIAL = {
    "initial_resolution": 35.0,
    "final_resolution": 15.0,
    "initial_iterations": 25,
    "between_iterations": 100,
    "final_iterations": 25,
    "initial_batch": 100,
    "final_batch": 500,
}


def config(**options: object) -> AbinitConfig:
    return AbinitConfig(Path("p.star"), out=Path("o"), **options)


def frame(mask_diameter: float, pixel_size: float = 4.0) -> Frame:
    radius, grid = mask_diameter / 2 / pixel_size, Grid(64, pixel_size)
    return Frame(64, pixel_size, radius, 3.0, polar_grid(17, 0.85), grid)


def test_relions_tutorial_settings_mean_the_same_here() -> None:
    steps = schedule(config(**TUTORIAL), 3000)
    assert [s.stage for s in steps].count("initial") == 25
    assert [s.stage for s in steps].count("between") == 100
    assert [s.stage for s in steps].count("final") == 25
    assert {(s.resolution, s.batch) for s in steps[:25]} == {(35.0, 100)}
    assert {(round(s.resolution, 6), s.batch) for s in steps[-25:]} == {(15.0, 500)}
    for before, after in pairwise(steps):
        assert after.resolution <= before.resolution and after.batch >= before.batch


def test_batches_never_exceed_the_particles() -> None:
    assert max(s.batch for s in schedule(config(), 150)) == 150


@pytest.mark.parametrize(
    "diameter,resolution,operators,step",
    [
        (200.0, 35.0, 1, 15.0),
        (200.0, 15.0, 1, 15.0),  # 8.6 degrees would do, but there are too many orientations
        (200.0, 15.0, 24, 7.5),
        (150.0, 30.0, 24, 15.0),
        (300.0, 10.0, 60, 3.75),
    ],
)
def test_angular_step_follows_the_resolution_as_far_as_it_is_cheap(
    diameter: float, resolution: float, operators: int, step: float
) -> None:
    found = angular_step(config(), resolution, frame(diameter), operators)
    assert found == step
    options = config(final_resolution=resolution)
    assert last_angular_step(options, frame(diameter), operators) == step / 2
    assert angular_step(config(angular_sampling=30.0), resolution, frame(diameter), operators) == 30


def test_the_noise_is_inflated_and_the_inflation_halves() -> None:
    assert inflated(1000, 0) == 8
    assert inflated(1000, 1000) == 4.5
    assert noise_factor(1.0, polyhedral=False) == 1
    assert noise_factor(1.0, polyhedral=True) < 1


def test_a_job_that_does_not_fit_says_so_before_it_runs(
    small_stack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "free_memory", lambda device: 300_000_000)
    with pytest.raises(
        InputError, match=r"needs \d\.\d GB of memory beside the images, and may take 0\.3 GB"
    ):
        run_abinit(AbinitConfig(small_stack, out=tmp_path / "job"))
    assert not (tmp_path / "job").exists()


def test_memory_grows_with_the_particles_and_classes(small_stack: Path) -> None:
    table = read_particles(small_stack)
    here = working_frame(common_grid(table), 200.0, 20.0)
    cpu = torch.device("cpu")
    one = memory_plan(config(), table, here, 1, cpu)
    three = memory_plan(config(classes=3), table, here, 1, cpu)
    samples = here.polar.rings * here.polar.half
    assert one.images["images"] == 300 * samples * 8  # complex64
    assert three.parts["maps"] == pytest.approx(3 * one.parts["maps"])
    assert json.dumps(one.record())


def test_under_a_polyhedral_group_starts_are_compared_at_the_final_resolution() -> None:
    """Before, the false solutions of the real apoferritin stack are the likelier ones."""
    steps = schedule(config(symmetry="O"), 3000)
    first, last = rounds(len(steps), 8, polyhedral=True)
    assert steps[first.until - 1].stage == "final"
    assert (first.contenders, first.keep, last.keep) == (8, 2, 2)
    assert last.until - last.since > 30  # hands take so long to show


@pytest.mark.parametrize("starts,ends", [(1, 1), (2, 2), (4, 2), (6, 2), (8, 2), (20, 5)])
def test_halving_keeps_two_starts_at_the_least(starts: int, ends: int) -> None:
    plan = rounds(90, starts, polyhedral=False)
    assert plan[0].since == 0 and plan[0].contenders == starts
    assert plan[-1].until == 90 and plan[-1].keep == ends
    for before, after in pairwise(plan):
        assert after.since == before.until > before.since
        assert after.contenders == before.keep < before.contenders


def test_the_temperature_is_steered_to_where_particles_choose() -> None:
    """A flat posterior is sharpened, a certain one left alone; it comes to rest at the target."""
    assert steered(0.5, 0.001) < steered(0.5, 0.1) < 0.5 < steered(0.5, 0.4)
    assert steered(1.0, 0.9) == 1.0
    temperature = 0.3
    for _ in range(50):  # particles whose certainty falls with the temperature as 0.1 / T
        temperature = steered(temperature, 0.1 / temperature)
    assert 0.1 / temperature == pytest.approx(0.2, rel=0.01)


def test_starts_are_of_two_kinds_but_for_several_maps_and_high_symmetry() -> None:
    kinds = [is_steered(start, 1, polyhedral=False) for start in range(6)]
    assert kinds == [True, True, False, True, True, False]
    assert all(is_steered(start, 3, polyhedral=False) for start in range(6))
    assert not any(is_steered(start, 1, polyhedral=True) for start in range(6))


def test_particles_used_are_spread_over_the_stack(
    small_stack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = read_particles(small_stack)
    rows, (said,) = checks.particles_used(config(particles_used=4), table)
    assert rows.tolist() == [0, 100, 199, 299]
    assert said.startswith("4 of 300 particles, spread over the stack, are used")
    assert checks.particles_used(config(particles_used=300), table)[1] == []
    few = {"initial_batch": 5, "final_batch": 5, "initial_iterations": 8, "final_iterations": 2}
    brief = config(**few, between_iterations=10)
    assert len(checks.particles_used(brief, table)[0]) == 100  # what 20 iterations see
    assert len(checks.particles_used(replace(brief, classes=2), table)[0]) == 200
    assert len(checks.particles_used(replace(brief, particles_used="all"), table)[0]) == 300
    monkeypatch.setattr(checks, "_MOST_USED", 30)
    assert len(checks.particles_used(brief, table)[0]) == 30
