"""Local refinement put to its uses: a mobile domain, mixed symmetry mates, particles' scales."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from star_samples import particle_blocks

from vitreous.config.maps import ReconstructConfig
from vitreous.config.refine import RefineConfig
from vitreous.config.simulate import SimulateConfig
from vitreous.imaging.ctf import Optics
from vitreous.imaging.phantom import residues, symmetric_residues
from vitreous.imaging.project import map_to_cube
from vitreous.imaging.simulate import Views, clean_images
from vitreous.io.mrc import read_map, stack_writer, write_map
from vitreous.io.star import write_star
from vitreous.jobs.maps.reconstruct import run_reconstruct
from vitreous.jobs.refine.refine import run_refine
from vitreous.jobs.simulate import random_poses
from vitreous.math.gaussians import gaussian_sum
from vitreous.math.rotations import angular_distance
from vitreous.math.symmetry import point_group
from vitreous.particles.files import read_particles
from vitreous.particles.poses import read_poses

BOX, PIXEL, COUNT, WIDTH = 32, 7.0, 400, 5.6
HINGE = (5.0, 0.0, 0.0)
CORE = [(-20, 0, 0), (-45, 25, 10), (-40, -25, -20), (-35, 0, 35), (-65, 5, 0)]
ARM = [(20, 0, 0), (42, 28, 5), (46, -26, 10), (35, 5, 38), (68, 0, -15)]
"""Lumps of two bodies (x, y, z), angstrom, and the hinge between them."""


def lumps(centres: list[tuple[int, int, int]], seed: int) -> np.ndarray:
    scatter = np.random.default_rng(seed).normal(scale=5, size=(60, len(centres), 3))
    return (scatter + np.array(centres)).reshape(-1, 3)


def density(places: np.ndarray) -> torch.Tensor:
    return gaussian_sum(places, np.ones(len(places)), WIDTH, BOX, PIXEL).float()


def images_of(volume: torch.Tensor, views: Views) -> torch.Tensor:
    cube = map_to_cube(volume[None], BOX / 2)
    return clean_images(cube, views, Optics(300, 2.7, 0.1), BOX, PIXEL)


def settings(folder: Path, seed: int) -> SimulateConfig:
    folder.mkdir(parents=True, exist_ok=True)
    return SimulateConfig(Path("x"), out=folder, n=COUNT, seed=seed, shift=2.0)


def written(config: SimulateConfig, clean: torch.Tensor, told: Views, snr: float) -> Path:
    """STAR file of images in white noise of variance 1, with the poses that are told of them."""
    generator = torch.Generator().manual_seed(config.seed)
    signal = clean * (snr / float(clean.var(dim=(1, 2)).mean())) ** 0.5
    with stack_writer(config.out / "particles.mrcs", BOX, COUNT, PIXEL) as stack:
        stack.append((signal + torch.randn(signal.shape, generator=generator)).numpy())
    write_star(config.out / "p.star", particle_blocks(config, told, BOX, PIXEL))
    return config.out / "p.star"


def refined(star: Path, reference: Path, **options: object) -> Path:
    config = RefineConfig(
        star, reference=reference, out=star.parent / "job", mask_diameter=200.0, local_search=3.75,
        check=False, **({"iterations": 5} | options),
    )  # fmt: skip
    return run_refine(config)


def matrices_in(star: Path) -> torch.Tensor:
    return torch.from_numpy(read_poses(read_particles(star)).matrices)


def correlation(a: torch.Tensor, b: torch.Tensor, mask: torch.Tensor) -> float:
    inside = mask > 0.5
    return float(torch.corrcoef(torch.stack([a[inside], b[inside]]))[0, 1])


def read(path: Path) -> torch.Tensor:
    return torch.from_numpy(read_map(path)[0])


@pytest.mark.slow
def test_a_mobile_domain_is_followed(tmp_path: Path) -> None:
    """The second body turns about a hinge, in every particle by a turn of its own."""
    config = settings(tmp_path / "data", seed=1)
    core = random_poses(config)
    still, moving = density(lumps(CORE, 8)), density(lumps(ARM, 9))
    turns = Rotation.from_rotvec(
        np.random.default_rng(2).normal(scale=6, size=(COUNT, 3)), degrees=True
    ).as_matrix()
    own = core.matrices @ torch.from_numpy(turns)
    moved = torch.from_numpy(np.array(HINGE) - turns @ HINGE)
    shift = torch.einsum("nij,nj->ni", core.matrices, moved)[:, :2] / PIXEL
    body = Views(own, (core.origins - shift).to(core.origins), core.defocus)
    clean = images_of(still, core) + images_of(moving, body)
    star = written(config, clean, core, snr=2.0)
    write_map(tmp_path / "whole.mrc", (still + moving).numpy(), PIXEL)
    near = moving > 0.03 * float(moving.max())
    soft = torch.nn.functional.avg_pool3d(near[None, None].float(), 5, 1, 2)[0, 0]
    write_map(tmp_path / "mask.mrc", soft.numpy(), PIXEL)

    job = refined(
        star, tmp_path / "whole.mrc", mask=tmp_path / "mask.mrc", angle_prior=8.0,
        shift_prior=4.0, fulcrum=HINGE,
    )  # fmt: skip
    before = angular_distance(core.matrices, own)
    after = angular_distance(matrices_in(job / "particles.star"), own)
    assert float(after.median()) < 0.45 * float(before.median())
    blurred = read(run_reconstruct(ReconstructConfig(star, out=tmp_path / "b")) / "map.mrc")
    quality = [correlation(volume, moving, soft) for volume in (blurred, read(job / "map.mrc"))]
    assert quality[1] > quality[0] + 0.015


@pytest.mark.slow
def test_mixed_mates_are_put_right(tmp_path: Path) -> None:
    """A third of the particles of a C2 pair, one side of which bears a lump, lie upside down."""
    config = settings(tmp_path / "data", seed=3)
    true = random_poses(config)
    pair = symmetric_residues("C2")
    lump = np.random.default_rng(4).normal((30.0, -40.0, 20.0), 7, size=(len(pair) // 6, 3))
    volume = density(np.concatenate([pair, lump]))
    wrong = torch.from_numpy(np.random.default_rng(5).uniform(size=COUNT) < 1 / 3)
    mate = point_group("C2")[1].double()
    told = replace(
        true, matrices=torch.where(wrong[:, None, None], true.matrices @ mate, true.matrices)
    )
    star = written(config, images_of(volume, true), told, snr=1.0)
    mixed = run_reconstruct(ReconstructConfig(star, out=tmp_path / "mixed"))
    job = refined(star, mixed / "map.mrc", relax_symmetry="C2")
    errors = angular_distance(matrices_in(job / "particles.star"), true.matrices)
    assert float((errors < 20).double().mean()) > 0.97
    maps = (read(folder / "map.mrc") for folder in (mixed, job))
    quality = [correlation(found, volume, torch.ones_like(volume)) for found in maps]
    assert quality[1] > quality[0] + 0.01


@pytest.mark.slow
def test_scales_of_particles_are_found(tmp_path: Path) -> None:
    config = settings(tmp_path / "data", seed=6)
    views = random_poses(config)
    volume = density(residues())
    factors = np.exp(np.random.default_rng(7).normal(scale=0.3, size=COUNT)).clip(0.4, 2.5)
    clean = images_of(volume, views) * torch.from_numpy(factors).float()[:, None, None]
    star = written(config, clean, views, snr=1.0)
    write_map(tmp_path / "truth.mrc", volume.numpy(), PIXEL)
    job = refined(star, tmp_path / "truth.mrc", per_particle_scale=True)
    found = read_particles(job / "particles.star").scale
    expected = factors / factors.mean()
    assert np.corrcoef(found, expected)[0, 1] > 0.9
    assert np.polyfit(expected, found, 1)[0] == pytest.approx(1, abs=0.15)
    assert found.mean() == pytest.approx(1, abs=1e-2)
