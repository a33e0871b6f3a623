"""Alignment to the truth, against maps made in closed form at known places."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from vitreous.config.maps import CompareConfig
from vitreous.errors import VitreousError
from vitreous.imaging.phantom import residues
from vitreous.imaging.project import map_to_cube
from vitreous.io.mrc import write_map
from vitreous.jobs.compare import run_compare
from vitreous.math.fourier import to_fourier
from vitreous.math.gaussians import gaussian_sum
from vitreous.math.rotations import angular_distance, axis_rotation, random_rotations
from vitreous.validate.fsc import fsc, resolution_at
from vitreous.validate.rigid_body import RigidBodies, refine_rigid_bodies
from vitreous.validate.truth import align

BOX, PIXEL, WIDTH = 48, 5.0, 5.0


def placed(positions: np.ndarray) -> torch.Tensor:
    return gaussian_sum(positions, np.ones(len(positions)), WIDTH, BOX, PIXEL)


@pytest.mark.parametrize(
    ("seed", "mirror", "reach"), [(0, False, 0.5), (1, True, 1 / 6), (2, False, 1 / 6)]
)
@pytest.mark.slow
def test_finds_rotation_shift_and_hand(seed: int, mirror: bool, reach: float) -> None:
    positions, rotation = residues(), random_rotations(1, seed)[0].numpy()
    shift = np.random.default_rng(seed).uniform(-20, 20, 3)
    # The moving map is the truth turned by the inverse, so that ``rotation`` brings it back.
    moved = (positions - shift) @ rotation
    if mirror:
        moved = moved * [1, 1, -1]
    truth, moving = placed(positions), placed(moved)
    noise = torch.randn(truth.shape, generator=torch.Generator().manual_seed(seed))
    noisy = align(moving + 0.1 * moving.std() * noise, truth, PIXEL, reach=reach)
    assert noisy.mirrored == mirror
    found = torch.from_numpy(np.array(noisy.matrix))
    assert angular_distance(found, torch.from_numpy(rotation)) < 0.5
    np.testing.assert_allclose(noisy.shift * PIXEL, shift, atol=0.3 * PIXEL)
    clean = align(moving, truth, PIXEL, reach=reach)
    assert (fsc(clean.volume, truth)[: int(0.7 * BOX / 2)] > 0.99).all()


def test_every_body_is_laid_by_itself() -> None:
    true, shift = random_rotations(1, 3)[0], np.array([8.0, -6.0, 11.0])
    truth = placed(residues())
    moving = placed((residues() - shift) @ true.numpy())
    cube = map_to_cube(moving[None], 10)
    axis = torch.arange(-8.0, 9.0)
    points = torch.cartesian_prod(axis, axis, axis)
    points = points[(points.norm(dim=1) <= 8) & (points[:, 0] > 0)]
    z, y, x = (points.flip(1).long() + BOX // 2).unbind(1)
    target = to_fourier(truth, 3)[z, y, x]
    angles = torch.tensor([0.1, -0.12, 2.5], dtype=torch.float64)  # the last is far off
    turned = torch.stack([axis_rotation(angle, n) @ true for n, angle in enumerate(angles)])
    begun = RigidBodies(turned, torch.full((3, 3), 0.01, dtype=torch.float64))
    bodies, correlation = refine_rigid_bodies(cube, target, points, begun, 1e-4)
    for number in range(2):
        assert angular_distance(bodies.matrices[number], true) < 0.3
        np.testing.assert_allclose(bodies.shifts[number] * BOX * PIXEL, shift, atol=0.5)
        alone, one = refine_rigid_bodies(cube, target, points, begun.only(number), 1e-4)
        torch.testing.assert_close(alone.matrices[0], bodies.matrices[number], atol=1e-3, rtol=0)
        # Correlations are found in single precision.
        torch.testing.assert_close(one[0], correlation[number], atol=1e-5, rtol=0)
    assert correlation[2] < 0.9 < correlation[:2].min()


def test_resolution_is_interpolated() -> None:
    curve = np.array([1, 1, 0.8, 0.4, 0.1])
    assert resolution_at(curve, 0.5, 10, 2.0) == pytest.approx(20 / 2.75)
    assert resolution_at(curve, 0.05, 10, 2.0) == 4.0
    assert resolution_at(np.array([1, 0.2, 0.1]), 0.5, 10, 2.0) is None


def test_fsc_of_independent_noise_is_small() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 32, 32, 32, generator=generator)
    assert fsc(a, a)[1:].min() > 0.999
    assert fsc(a, b)[6:].abs().mean() < 0.05


def test_compare_writes_and_refuses(tmp_path: Path) -> None:
    volume = placed(residues())
    write_map(tmp_path / "a.mrc", volume.numpy(), PIXEL)
    turned = placed(residues() @ random_rotations(1, 5)[0].numpy())
    write_map(tmp_path / "b.mrc", turned.numpy(), PIXEL)
    result = run_compare(CompareConfig(tmp_path / "a.mrc", tmp_path / "b.mrc"))
    assert result.hand == "same" and result.correlation > 0.99
    assert result.aligned == tmp_path / "a_aligned.mrc"
    with pytest.raises(VitreousError, match="--overwrite"):
        run_compare(CompareConfig(tmp_path / "a.mrc", tmp_path / "b.mrc"))
    write_map(tmp_path / "flat.mrc", np.ones((16, 16, 16)), 2.0)
    with pytest.raises(VitreousError, match="constant"):
        run_compare(CompareConfig(tmp_path / "flat.mrc", tmp_path / "b.mrc"))


def test_a_curve_that_rises_again_is_told(tmp_path: Path) -> None:
    volume = placed(residues())
    spectrum = torch.fft.fftn(volume)
    axis = torch.fft.fftfreq(len(volume)) * len(volume)
    radius = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij")).norm(dim=0)
    noise = torch.fft.fftn(torch.randn(volume.shape, generator=torch.Generator().manual_seed(0)))
    noise *= spectrum.abs() / noise.abs()
    dip = torch.where((radius > 3.5) & (radius < 5.5), noise, spectrum)
    write_map(tmp_path / "dip.mrc", torch.fft.ifftn(dip).real.numpy(), PIXEL)
    write_map(tmp_path / "whole.mrc", volume.numpy(), PIXEL)
    found = run_compare(CompareConfig(tmp_path / "dip.mrc", tmp_path / "whole.mrc"))
    assert found.resolution_05 is not None and found.resolution_05 > len(volume) * PIXEL / 5
    assert len(found.warnings) == 1
    assert "falls below 0.5" in found.warnings[0] and "above it again" in found.warnings[0]
