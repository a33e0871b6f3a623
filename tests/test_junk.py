"""Junk left out of a search with several classes: its likelihood, its odds, and its images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import torch
from class_samples import density, stack
from scipy.ndimage import gaussian_filter
from scipy.special import logsumexp
from scipy.stats import norm
from test_search import BOX, POLAR, RINGS, cube, images_of

from vitreous.config.abinit import AbinitConfig
from vitreous.engine.adaptive_search import coarse_search
from vitreous.engine.junk import junk_log_likelihood, junk_log_odds
from vitreous.engine.loop import run_through
from vitreous.engine.mini_batches import Step, online
from vitreous.engine.searches.grid import RingSums, Trial, expectation, references
from vitreous.engine.searches.sampling import shift_grid
from vitreous.engine.searches.tiles import Tiling
from vitreous.imaging.project import FourierCube
from vitreous.math.fourier import resample_map
from vitreous.math.so3 import orientation_grid
from vitreous.math.symmetry import point_group
from vitreous.particles.files import read_particles
from vitreous.particles.stack import open_images
from vitreous.runs.folder import ignore
from vitreous.schedules.abinit.context import first_state
from vitreous.schedules.abinit.inputs import AbinitInputs, context_of

__all__ = ["cube"]  # the fixture

GOOD, JUNK = 150, 60


def test_junk_is_normally_distributed_with_signal_of_some_power() -> None:
    rng = np.random.default_rng(0)
    each, noise, signal = 40, np.array([2.0, 1.0, 0.5]), np.array([1.0, 0.6, 0.1])
    samples = rng.normal(size=(5, 3, each)) * np.sqrt(noise * 1.5)[:, None]
    expected = []
    for times in (0, 0.25, 0.5, 1, 2, 4):
        width = np.sqrt(noise + times * signal)[:, None]
        found = norm.logpdf(samples, scale=width) - norm.logpdf(
            samples, scale=np.sqrt(noise)[:, None]
        )
        expected.append(found.sum(axis=(1, 2)) - np.log(6))
    likely = junk_log_likelihood(
        torch.from_numpy((samples**2).mean(axis=2)),
        torch.from_numpy(noise).expand(5, 3),
        torch.from_numpy(signal).expand(5, 3),
        torch.full((3,), float(each), dtype=torch.float64),
    )
    np.testing.assert_allclose(likely.numpy(), logsumexp(expected, axis=0), rtol=1e-6)


def test_faint_particles_need_less_evidence_than_strong_ones() -> None:
    even = junk_log_odds(0.3, 0.0)
    assert even == pytest.approx(np.log(0.3 / 0.7))
    assert junk_log_odds(0.3, 6.0) == pytest.approx(even + 1)
    assert junk_log_odds(0.3, 300.0) == pytest.approx(even + 5)
    assert junk_log_odds(0.9, 0.0) == even  # all being junk is not to be believed
    assert junk_log_odds(0.0, 0.0) == pytest.approx(np.log(0.01 / 0.99))


def searched(cube: FourierCube, images: torch.Tensor, junk: torch.Tensor | None) -> RingSums:
    """Sums of the M-step."""
    grid = orientation_grid(1, point_group("C1"))
    refs = references(cube, grid, POLAR)
    prior = torch.zeros(refs.maps * len(grid.directions))
    trial = Trial(refs, torch.ones(RINGS), shift_grid(1, 1), BOX, prior, Tiling(20_000))
    _, sums = expectation(trial, images, torch.ones(images.shape), junk=junk)
    assert sums is not None
    return sums


def test_images_of_junk_add_nothing(cube: FourierCube) -> None:
    images = images_of(cube, 12, 1.0)
    junk = torch.full((12,), -1e6)
    junk[[2, 7, 8]] = 1e6
    left_out, without = searched(cube, images, junk), searched(cube, images[junk < 0], None)
    for name in ("data", "weight", "residual", "product", "power", "count"):
        torch.testing.assert_close(
            getattr(left_out, name), getattr(without, name), rtol=1e-3, atol=1e-3
        )


def test_without_junk_every_image_counts(cube: FourierCube) -> None:
    images = images_of(cube, 5, 1.0)
    assert float(searched(cube, images, None).count) == 5


def with_ice(star: Path) -> Path:
    """The last images of a stack get strong density without a plan."""
    with mrcfile.open(star.with_suffix(".mrcs"), mode="r+") as file:
        rng = np.random.default_rng(3)
        for image in file.data[-JUNK:]:
            field = gaussian_filter(rng.normal(size=image.shape), rng.uniform(1.5, 3))
            image += 2 * field / field.std()
    return star


@pytest.mark.slow
def test_ice_is_junk_beside_two_classes(tmp_path: Path) -> None:
    star = with_ice(stack(tmp_path, (GOOD, GOOD), 2 * JUNK, snr=0.5))
    config = AbinitConfig(star, out=Path("o"), classes=2, final_resolution=20.0)
    table = read_particles(star)
    task = AbinitInputs(
        config, table, open_images(table), 180.0, torch.device("cpu"), Path("o"), ""
    )
    context = context_of(task, ignore)
    state = first_state(context, 0)
    maps = torch.stack([density(kind).float() for kind in range(2)])
    maps = resample_map(maps, context.frame.box)
    maps = maps * state.maps.norm() / maps.norm()
    state = replace(state, maps=maps, evidence=30.0, rings=context.frame.rings_at(20.0))
    step = Step("final", 20.0, len(table), 0.5, False, 0.0)
    every = [torch.arange(len(table))] * 3
    each = online(context, [step] * 3, lambda state: state.iteration)
    state = run_through(state, every, each)
    junk = coarse_search(context, state, 20.0).junk.numpy()
    assert junk[: 2 * GOOD].mean() < 0.05
    assert junk[2 * GOOD : -JUNK].mean() > 0.9
    assert junk[-JUNK:].mean() > 0.8
