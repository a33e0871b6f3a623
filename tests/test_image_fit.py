"""Images that are unlike the others: by scale and misfit, and what is made of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from loader_samples import NoCtf, cached

from vitreous.engine.assignments import ParticleAssignments
from vitreous.engine.image_fit import ImageFit, image_fit, unlike_others
from vitreous.engine.local_pass import PoseMatrices
from vitreous.engine.planes import PlaneImages, half_plane
from vitreous.engine.shards import Shards
from vitreous.imaging.project import map_to_cube, shift_phase
from vitreous.math.gaussians import gaussian_sum
from vitreous.math.rotations import euler_to_matrix
from vitreous.ops.cubes import read_planes

BOX, PIXEL, SHELLS = 32, 4.0, 14


def fits(rng: np.random.Generator, good: int, weak: int, extra: int) -> ImageFit:
    """Good images spread by 15 and 12 percent; fragments at half the scale; others ill fitted."""
    scale = rng.normal(0, 0.15, good + weak + extra)
    misfit = rng.normal(0, 0.12, good + weak + extra)
    scale[good : good + weak] -= 0.9
    misfit[good + weak :] += 1.2
    return ImageFit(*(torch.from_numpy(np.exp(x)).float() for x in (scale, misfit)))


def test_fragments_and_other_density_are_told_from_the_many() -> None:
    unlike = unlike_others(fits(np.random.default_rng(1), 900, 50, 60)) > 0.5
    assert unlike[:900].any(dim=1).float().mean() < 0.02
    assert unlike[900:950, 1].float().mean() > 0.95
    assert unlike[950:, 0].float().mean() > 0.95


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(100, 2000), st.floats(0.2, 5.0))
def test_where_all_are_alike_hardly_any_is_left_out(seed: int, count: int, level: float) -> None:
    fit = fits(np.random.default_rng(seed), count, 0, 0)
    unlike = unlike_others(ImageFit(level * fit.scale, fit.misfit)) > 0.5
    assert unlike.float().sum() <= max(3, 0.02 * count)


def test_stronger_images_are_none_of_the_others_and_a_few_tell_nothing() -> None:
    rng = np.random.default_rng(2)
    fit = fits(rng, 500, 0, 0)
    strong = ImageFit(torch.cat([fit.scale, fit.scale[:50] * 3]), fit.misfit.repeat(2)[:550])
    assert not (unlike_others(strong)[500:] > 0.5).any()
    assert not unlike_others(fits(rng, 40, 5, 5)).any()


@pytest.fixture(scope="module")
def posed_images() -> tuple[torch.Tensor, PlaneImages, PoseMatrices, torch.Tensor]:
    """Images of a map of Gaussians in known noise: 60 of half the scale, 60 with a blob more."""
    rng, plane = np.random.default_rng(0), half_plane(SHELLS)
    points = rng.normal(scale=14, size=(12, 3))
    volume = gaussian_sum(points, np.linspace(1, 2, 12), 7.0, BOX, PIXEL).float()[None]
    count = 300
    angles = [torch.from_numpy(rng.uniform(0, limit, count)) for limit in (360, 180, 360)]
    posed = PoseMatrices(
        euler_to_matrix(*angles), torch.from_numpy(rng.normal(size=(count, 2))).float()
    )
    # Projections of Gaussians in closed form: the transform of each is a Gaussian at its place.
    k = plane.points.double() / BOX
    seen = (torch.from_numpy(points) / PIXEL) @ posed.matrices.transpose(1, 2)
    weights = torch.from_numpy(np.linspace(1, 2, 12))
    width = 2 * np.pi**2 * (7.0 / PIXEL) ** 2
    phase = torch.exp(-2j * np.pi * torch.einsum("nad,md->nam", seen[..., :2], k))
    clean = torch.einsum("a,nam->nm", weights.to(phase), phase) * torch.exp(
        -width * k.square().sum(1)
    )
    scale = torch.ones(count)
    scale[:60] = 0.5
    # The map's own transform tells the units of the closed form.
    cube = map_to_cube(volume, SHELLS + 1, 2)
    own = read_planes(cube, plane.points, posed.matrices)[0]
    clean = clean * (own.abs().square().sum() / clean.abs().square().sum()).sqrt()
    variance = 0.05 * float(own.abs().square().mean())
    noise = torch.from_numpy(rng.normal(size=(count, len(k), 2)) @ np.array([1, 1j]))
    blob = torch.zeros_like(clean)
    blob[60:120] = 3 * torch.exp(-width * k.square().sum(1)) * own[:, :4].abs().mean()
    samples = (scale[:, None] * clean + blob + noise * (variance / 2) ** 0.5).to(torch.complex64)
    samples = samples * shift_phase(plane.points, -posed.origins, BOX)
    group, power = torch.zeros(count, dtype=torch.long), torch.zeros(count, SHELLS)
    images = PlaneImages(
        cached(samples), NoCtf(), power, group, 1.0, None, Shards(len(group)), plane
    )
    return volume, images, posed, torch.full((1, SHELLS), variance)


def test_scale_and_misfit_of_images_made_in_closed_form(posed_images) -> None:
    volume, images, posed, noise = posed_images
    number = torch.zeros(300, dtype=torch.long)
    fit = image_fit(volume, images, posed, number, noise, SHELLS)
    assert fit.scale[:60].mean() == pytest.approx(0.5, abs=0.05)
    assert fit.scale[120:].mean() == pytest.approx(1.0, abs=0.05)
    assert fit.misfit[120:].mean() == pytest.approx(1.0, abs=0.1)
    assert fit.misfit[60:120].mean() > 1.5 * fit.misfit[120:].mean()


def test_classes_of_images_left_out_come_after_the_maps() -> None:
    left_out = np.array([[0.9, 0.0, 0.0], [0.1, 0.7, 0.0], [0.0, 0.0, 0.8], [0.1, 0.1, 0.1]])
    by_map = np.array([[0.2, 0.8]] * 4)
    rest = np.zeros(4)
    noise, contrast, frequency = np.ones((1, 5)), np.ones(1), np.arange(5.0)
    angles, origins = np.zeros((4, 3)), np.zeros((4, 2))
    found = ParticleAssignments(
        angles, origins, by_map, left_out, rest, rest, noise, contrast, frequency
    )
    assert found.classes.tolist() == [3, 4, 5, 2]
    shares = sum(found.belongs(number) for number in range(5))
    np.testing.assert_allclose(shares, 1)
    np.testing.assert_allclose(found.noise_probability + found.junk_probability, left_out.sum(1))
