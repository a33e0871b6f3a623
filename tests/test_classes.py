"""Sorting particles among classes, and telling what is none."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from conftest import simulated

from vitreous.config.abinit import AbinitConfig
from vitreous.engine.junk import class_labels, effective_classes, noise_probability, roundness
from vitreous.io.mrc import stack_writer
from vitreous.io.star import read_star, write_star
from vitreous.jobs.abinit.abinit import run_abinit
from vitreous.math.fourier import frequency_radius
from vitreous.math.gaussians import gaussian_sum
from vitreous.particles.files import read_particles
from vitreous.particles.stack import open_images

QUICK = {
    "initial_iterations": 10,
    "between_iterations": 25,
    "final_iterations": 5,
    "final_resolution": 30.0,
    "mask_diameter": 200.0,
}


def with_noise(star: Path, out: Path, count: int) -> Path:
    """The same stack with images of noise alone behind it."""
    table = read_particles(star)
    images = open_images(table).read(np.arange(len(table)))
    noise = np.random.default_rng(5).normal(size=(count, *images.shape[1:]))
    stack = np.concatenate([images, noise]).astype(np.float32)
    out.mkdir()
    with stack_writer(out / "all.mrcs", stack.shape[-1], len(stack), 8.0) as file:
        file.append(stack)
    blocks = read_star(star)
    frame = blocks["particles"].frame
    frame = pl.concat([frame, frame.head(count)]).with_columns(
        rlnImageName=pl.Series([f"{i:06d}@all.mrcs" for i in range(1, len(stack) + 1)])
    )
    write_star(
        out / "all.star", (blocks | {"particles": blocks["particles"].with_frame(frame)}).values()
    )
    return out / "all.star"


@pytest.mark.slow
def test_images_of_noise_get_a_class_of_their_own(tmp_path: Path) -> None:
    stack = simulated(tmp_path / "data", 300, snr=0.2, seed=3)
    star = with_noise(stack, tmp_path / "mixed", 100)
    job = run_abinit(AbinitConfig(star, out=tmp_path / "job", starts=1, **QUICK))
    frame = read_star(job / "particles.star")["particles"].frame
    classes = frame["rlnClassNumber"].cast(pl.Int64).to_numpy()
    assert (classes[:300] == 1).mean() > 0.95
    assert (classes[300:] == 2).mean() > 0.9
    entries = json.loads((job / "result.json").read_text())["classes"]
    assert [entry["label"] for entry in entries[:2]] == ["map", "noise"]
    assert sum(entry["particles"] for entry in entries[2:]) < 8  # of other junk there is none
    assert entries[1]["map"] is None
    assert sum(entry["particles"] for entry in entries) == 400


def test_the_share_of_noise_is_found_from_likelihood_ratios() -> None:
    # One Gaussian measurement each, of mean 3 or 0: the ratio's logarithm is 3 x - 4.5.
    rng = np.random.default_rng(1)
    signal = rng.uniform(size=20_000) < 0.7
    x = rng.normal(size=len(signal)) + 3 * signal
    noise = noise_probability(torch.from_numpy(3 * x - 4.5)).numpy()
    assert noise.mean() == pytest.approx(0.3, abs=0.01)
    expected = 1 / (1 + 0.7 / 0.3 * np.exp(3 * x - 4.5))  # Bayes' rule with the true share
    assert np.abs(noise - expected).max() < 0.02


def test_a_ball_is_round_and_a_molecule_is_not() -> None:
    radius = frequency_radius(32, 3)
    ball = torch.exp(-(radius**2) / 50)
    assert roundness(ball) > 0.99
    points = np.random.default_rng(2).uniform(-60, 60, (30, 3))
    molecule = gaussian_sum(points, np.ones(30), 10.0, 32, 6.0)
    assert roundness(molecule) < 0.7
    maps = torch.stack([molecule, ball, molecule, molecule, torch.zeros_like(ball)])
    shares = torch.tensor([0.5, 0.2, 0.2, 0.005, 0.095])
    found = class_labels(maps, shares, {2})
    assert found == ["map", "sphere", "duplicate", "empty", "empty"]
    # What a duplicate shows has its particles: it is one all the same.
    assert class_labels(maps, torch.tensor([0.7, 0.2, 0.0, 0.005, 0.095]), {2}) == found
    again = class_labels(maps, shares, {2}, not_reproduced=range(len(maps)))
    renamed = ["not reproduced" if label == "map" else label for label in found]
    assert again == renamed


def test_effective_classes() -> None:
    assert effective_classes(np.array([0.25] * 4)) == pytest.approx(4)
    assert effective_classes(np.array([1.0, 0.0])) == pytest.approx(1)
    assert effective_classes(np.array([0.5, 0.25, 0.25])) == pytest.approx(2 * math.sqrt(2))
