"""Projection, CTF, transforms and insertion against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from vitreous.imaging.ctf import Defocus, Optics, contrast_transfer, electron_wavelength
from vitreous.imaging.masks import mask_in_box, soft_sphere
from vitreous.imaging.polar import PolarGrid, polar_matrix, to_polar
from vitreous.imaging.project import gridding_window, map_to_cube, project, read_cube
from vitreous.math.fourier import (
    from_low_frequencies,
    half_spectra,
    resample,
    resample_map,
    resample_values,
    to_fourier,
    to_real,
)
from vitreous.math.gaussians import gaussian_sum
from vitreous.math.rotations import euler_to_matrix, matrix_to_euler, random_rotations
from vitreous.math.so3 import healpix_directions, orientation_grid
from vitreous.math.symmetry import point_group
from vitreous.ops.polar import ring_transform
from vitreous.particles.stack import normalise
from vitreous.reconstruct.accumulator import empty_accumulator, insert

POSITIONS = np.array([[12.0, -8.0, 5.0], [-15.0, 4.0, -9.0], [3.0, 16.0, 10.0]])
WEIGHTS = np.array([1.0, 0.7, 1.6])


def gaussian_image(positions: np.ndarray, width: float, box: int, pixel: float) -> torch.Tensor:
    """Sum of 2D Gaussians: what projections of 3D ones are, in closed form."""
    axis = (np.arange(box) - box // 2) * pixel
    y, x = np.meshgrid(axis, axis, indexing="ij")
    scale = pixel**2 / (2 * math.pi * width**2)
    image = sum(
        w * scale * np.exp(-((x - p[0]) ** 2 + (y - p[1]) ** 2) / (2 * width**2))
        for p, w in zip(positions, WEIGHTS, strict=True)
    )
    return torch.from_numpy(image).float()


def test_projection_of_gaussians() -> None:
    box, pixel, width = 48, 2.0, 4.5
    cube = map_to_cube(gaussian_sum(POSITIONS, WEIGHTS, width, box, pixel)[None], box // 2)
    matrices = random_rotations(6, seed=1)
    images = to_real(project(cube, matrices, box), 2)
    for image, matrix in zip(images, matrices, strict=True):
        expected = gaussian_image(POSITIONS @ matrix.numpy().T, width, box, pixel)
        # Trilinear reading at padding 2 is good to 2 %, the bound kept against RELION too.
        assert (image - expected).norm() / expected.norm() < 0.02


def test_polar_transform_of_gaussians() -> None:
    box, pixel, width = 48, 2.0, 4.5
    polar = PolarGrid(64, (32,) * 10)
    image = gaussian_image(POSITIONS, width, box, pixel)
    k = polar.points().double().numpy() / (box * pixel)
    expected = sum(
        w * np.exp(-2 * math.pi**2 * width**2 * (k**2).sum(-1) - 2j * math.pi * (k @ p[:2]))
        for p, w in zip(POSITIONS, WEIGHTS, strict=True)
    )
    by_matrix = to_polar(image[None], polar, polar_matrix(box, polar))[0]
    for found in (by_matrix, ring_transform(box, polar)(image[None])[0]):
        np.testing.assert_allclose(found.numpy() * box, expected, atol=2e-4)


def test_ctf_against_the_formula_by_hand() -> None:
    rng = np.random.default_rng(0)
    k = rng.uniform(-0.1, 0.1, size=(20, 2))
    u, v, angle, plate = 15000.0, 14200.0, 33.0, 20.0
    optics = Optics(200, 1.4, 0.08)
    columns = (torch.tensor([value], dtype=torch.float64) for value in (u, v, angle, plate))
    found = contrast_transfer(torch.from_numpy(k), Defocus(*columns), optics)[0]
    wavelength = 12.2643247 / math.sqrt(200e3 * (1 + 200e3 * 0.978466e-6))
    assert electron_wavelength(200) == pytest.approx(wavelength, rel=1e-5)
    azimuth = np.arctan2(k[:, 1], k[:, 0]) - math.radians(angle)
    defocus = u * np.cos(azimuth) ** 2 + v * np.sin(azimuth) ** 2
    s2 = (k**2).sum(1)
    phase = math.pi * wavelength * defocus * s2 - math.pi / 2 * 1.4e7 * wavelength**3 * s2**2
    expected = np.sin(phase + math.asin(0.08) + math.radians(plate))
    np.testing.assert_allclose(found.numpy(), expected, atol=2e-4)


def test_cube_and_back() -> None:
    volume = gaussian_sum(POSITIONS, WEIGHTS, 5.0, 32, 2.0)
    cube = map_to_cube(volume[None], 15)
    everything = [(slice(0, cube.side), cube.data[0])]
    back = from_low_frequencies(everything, cube.side, 32, 64) * (32 / 64**3)
    back = back * gridding_window(32, 2)
    assert (back - volume).norm() / volume.norm() < 1e-3


def test_insertion_is_the_transpose_of_reading() -> None:
    torch.manual_seed(0)
    accumulator = empty_accumulator(2, 6, 2)
    cube = map_to_cube(torch.randn(2, 16, 16, 16), 6)
    assert cube.data.shape == accumulator.data.shape
    points = (torch.rand(200, 3) - 0.5) * 8
    values = torch.randn(2, 200, dtype=torch.complex64)
    insert(accumulator, points, torch.eye(3)[None], values[:, None], torch.ones(2, 1, 200))
    left = (read_cube(cube, points).conj() * values).sum().real
    right = (cube.data.conj() * accumulator.data).sum().real
    torch.testing.assert_close(left, right, rtol=1e-4, atol=1e-3)


def test_resampling_keeps_noise_and_projections() -> None:
    torch.manual_seed(0)
    noise = resample(torch.randn(200, 64, 64), 32, 2)
    power = (to_fourier(noise, 2).abs() ** 2).mean(0)
    # The row and column at Nyquist lose their partners to the crop.
    assert power[1:, 1:].mean().item() == pytest.approx(1, abs=0.01)
    volume = gaussian_sum(POSITIONS, WEIGHTS, 5.0, 48, 2.0)
    coarse = resample_map(volume, 32)
    images = resample(volume.sum(0), 32, 2)
    assert (coarse.sum(0) - images).norm() / images.norm() < 1e-3


@pytest.mark.parametrize(("box", "new_box"), [(48, 32), (48, 33), (47, 32), (32, 48), (33, 48)])
@pytest.mark.parametrize("ndim", [2, 3])
def test_resampling_keeps_the_values_of_waves(box: int, new_box: int, ndim: int) -> None:
    def wave(n: int) -> torch.Tensor:
        axis = (torch.arange(n) - n // 2) / n
        x, y, z = torch.meshgrid(axis, axis, axis, indexing="ij")
        phase = 3 * x - 7 * y + 11 * z
        whole = torch.cos(2 * math.pi * phase + 0.4)
        return whole if ndim == 3 else whole[n // 2]

    torch.testing.assert_close(
        resample_values(wave(box), new_box, ndim), wave(new_box), rtol=0, atol=2e-5
    )


@pytest.mark.parametrize("box", [64, 65, 256])
def test_images_are_the_same_bits_whichever_come_with_them(box: int) -> None:
    torch.manual_seed(4)
    images = 3 * torch.randn(70, box, box) + 1
    together = resample(normalise(images, 0.4 * box), 40, 2)
    spectra = half_spectra(together)
    for some in (slice(0, 1), slice(3, 5), slice(9, 70)):
        alone = resample(normalise(images[some].clone(), 0.4 * box), 40, 2)
        assert torch.equal(alone, together[some])
        assert torch.equal(half_spectra(alone), spectra[some])


def test_images_are_normalised_by_their_background() -> None:
    torch.manual_seed(5)
    images = 2 * torch.randn(20, 128, 128) + 7
    images[:, 40:90, 40:90] += 50  # the particle does not count
    normalised = normalise(images, 40.0)
    corners = normalised[:, :20, :20].flatten()
    assert corners.mean().item() == pytest.approx(0, abs=0.05)
    assert corners.std().item() == pytest.approx(1, abs=0.05)
    torch.testing.assert_close(normalised[:, 64, 64] * 2 + 7, images[:, 64, 64], atol=1.5, rtol=0)


@pytest.mark.parametrize("box", [24, 25])
def test_half_spectra_are_the_half_of_the_whole(box: int) -> None:
    images = torch.randn(2, box, box)
    y, x = torch.tensor([-5, 0, 3, 11]), torch.tensor([0, 4, 11, 2])
    whole = to_fourier(images, 2)[:, y + box // 2, x + box // 2]
    torch.testing.assert_close(half_spectra(images)[:, y, x], whole)


def test_unitary_transform_round_trip() -> None:
    array = torch.randn(3, 16, 16)
    spectrum = to_fourier(array, 2)
    torch.testing.assert_close(to_real(spectrum, 2), array)
    torch.testing.assert_close((spectrum.abs() ** 2).sum(), (array**2).sum())


def test_euler_angles_and_back_at_the_poles_too() -> None:
    angles = torch.tensor([[10.0, 0, 20], [30, 180, -40], [-100, 60, 170]], dtype=torch.float64)
    matrices = euler_to_matrix(*angles.T)
    torch.testing.assert_close(euler_to_matrix(*matrix_to_euler(matrices).T), matrices)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_healpix_is_even(order: int) -> None:
    rot, tilt = (np.radians(a) for a in healpix_directions(order))
    assert len(rot) == 12 * 4**order
    points = np.stack([np.sin(tilt) * np.cos(rot), np.sin(tilt) * np.sin(rot), np.cos(tilt)])
    np.testing.assert_allclose(points.mean(axis=1), 0, atol=1e-12)
    # Pixels of equal area: the second moment of an even distribution is a third of the identity.
    np.testing.assert_allclose(points @ points.T / len(rot), np.eye(3) / 3, atol=0.02)


@pytest.mark.parametrize("group", ["C1", "C5", "D3", "T", "O", "I"])
@pytest.mark.parametrize("seed", [None, 4])
def test_asymmetric_unit_covers_every_direction(group: str, seed: int | None) -> None:
    operators = point_group(group)
    kept = orientation_grid(3, operators, seed).directions[:, :, 2]
    mates = torch.einsum("sij,dj->sdi", operators, kept).reshape(-1, 3)
    everywhere = random_rotations(300, seed=2)[:, :, 2]
    nearest = (everywhere @ mates.T).amax(1).clamp(max=1).arccos()
    assert torch.rad2deg(nearest).max() < 7.5


@pytest.mark.parametrize("box", [32, 48, 128])
def test_a_mask_keeps_its_place_and_values_on_another_grid(box: int) -> None:
    """A soft sphere brought to a grid is the sphere drawn there."""
    own = 64
    brought = mask_in_box(soft_sphere(own, 16.0, 12.0), box)
    drawn = soft_sphere(box, 16.0 * box / own, 12.0 * box / own)
    assert float((brought - drawn).abs().max()) < 0.02
    assert float(brought.mean()) == pytest.approx(float(drawn.mean()), rel=0.005)
