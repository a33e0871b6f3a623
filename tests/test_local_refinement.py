"""Refinement of what is hard: disordered parts, poses off any lattice, scales, mobile domains."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import simulated
from scipy.spatial.transform import Rotation
from torch import Tensor

from vitreous.config.refine import RefineConfig
from vitreous.engine.planes import half_plane
from vitreous.engine.searches.continuous import (
    DifferentiableMap,
    differentiable,
    fit,
    gauss_newton,
    slices_and_derivatives,
)
from vitreous.engine.searches.local import (
    LocalPoseEstimates,
    LocalTrial,
    local_expectation,
    neighbourhood,
)
from vitreous.engine.searches.prior import PlacePrior
from vitreous.engine.searches.sampling import shift_grid
from vitreous.errors import OptionError
from vitreous.imaging.masks import cosine_edge
from vitreous.imaging.phantom import built_in_phantom
from vitreous.imaging.project import read_cube, shift_phase, slice_points
from vitreous.jobs.refine.refine import run_refine
from vitreous.math.fourier import (
    from_half_fourier,
    half_frequency_radius,
    per_coefficient,
    to_half_fourier,
)
from vitreous.math.rotations import angular_distance, random_rotations, turn_by
from vitreous.math.symmetry import point_group
from vitreous.particles.files import read_particles
from vitreous.particles.poses import read_poses
from vitreous.reconstruct.nonuniform import cross_validated
from vitreous.schedules.refine.locality import check_locality
from vitreous.schedules.refine.scales import particle_contrast

BOX, RESOLVED = 64, 20.0


def with_spectrum(seed: int, falls_at: float) -> Tensor:
    """Random density of power (k / falls_at)^-8, as flat within 0.8 falls_at as a molecule's."""
    noise = torch.randn((BOX,) * 3, generator=torch.Generator().manual_seed(seed))
    radius = half_frequency_radius(BOX).clamp(min=0.8 * falls_at)
    return from_half_fourier(to_half_fourier(noise) * (radius / falls_at) ** -4)


def noise(seed: int) -> Tensor:
    return torch.randn((BOX,) * 3, generator=torch.Generator().manual_seed(seed))


def test_uniform_map_is_filtered_as_by_the_spherical_filter() -> None:
    """Signal over noise is 1 at RESOLVED everywhere: the Wiener filter is known."""
    truth = with_spectrum(1, RESOLVED)
    halves = torch.stack([truth + noise(2), truth + noise(3)])
    found, cutoffs = cross_validated(halves, RESOLVED)
    assert 0.85 * RESOLVED < float(cutoffs.mean()) < 1.15 * RESOLVED
    radius = torch.arange(BOX // 2 + 1)
    wiener = per_coefficient((1 / (1 + (radius / RESOLVED) ** 8)).numpy(), BOX)
    for half, ours in zip(halves, found, strict=True):
        spherical = from_half_fourier(to_half_fourier(half) * wiener)
        both = torch.stack([spherical.flatten(), ours.flatten()])
        assert float(torch.corrcoef(both)[0, 1]) > 0.99
        best = (spherical - truth).square().mean()
        assert float((ours - truth).square().mean()) < 1.15 * float(best)


def test_noise_only_half_of_the_box_is_filtered_coarsely() -> None:
    ordered = cosine_edge(torch.arange(BOX), BOX / 2 - 2, 4.0)
    truth = with_spectrum(1, RESOLVED) * ordered
    halves = torch.stack([truth + noise(2), truth + noise(3)])
    found, cutoffs = cross_validated(halves, RESOLVED)
    inner = slice(8, BOX // 2 - 8)
    assert float(cutoffs[:, :, inner].median()) > 0.8 * RESOLVED
    outer = slice(BOX // 2 + 8, BOX - 8)
    assert float(cutoffs[:, :, outer].median()) < 0.5 * RESOLVED
    # One filter for all sees half the signal over noise: the map is better in both parts.
    radius = torch.arange(BOX // 2 + 1)
    average = (1 / (1 + 2 * (radius / RESOLVED) ** 8)).numpy()
    wiener = per_coefficient(average, BOX)
    spherical = from_half_fourier(to_half_fourier(halves[0]) * wiener)
    for part in (inner, outer):
        error, former = (
            float((volume - truth)[:, :, part].square().mean()) for volume in (found[0], spherical)
        )
        assert error < former


def test_cutoffs_serve_both_halves_alike() -> None:
    truth = with_spectrum(1, RESOLVED)
    halves = torch.stack([truth + noise(2), truth + noise(3)])
    found, cutoffs = cross_validated(halves, RESOLVED)
    mirrored, same = cross_validated(halves.flip(0), RESOLVED)
    assert torch.equal(cutoffs, same)
    torch.testing.assert_close(found.flip(0), mirrored)


SIDE, SHELLS = 40, 14
PLANE = half_plane(SHELLS)
PHANTOM = built_in_phantom(SIDE, 6.0)


def jittered(matrices: Tensor, degrees: float, seed: int) -> Tensor:
    generator = np.random.default_rng(seed)
    vectors = np.radians(generator.normal(size=(len(matrices), 3)) * degrees)
    return torch.from_numpy(Rotation.from_rotvec(vectors).as_matrix()) @ matrices


@pytest.fixture(scope="module")
def reference() -> DifferentiableMap:
    return differentiable(PHANTOM, SHELLS + 1)


def spectrum(reference: DifferentiableMap) -> Tensor:
    """Amplitude of slices at each sample: noise of this spectrum spares no frequency."""
    points = slice_points(PLANE.points, random_rotations(20, 1).float()).reshape(-1, 3)
    power = read_cube(reference.plain, points).view(20, -1).abs().square().mean(dim=0)
    return PLANE.per_sample(PLANE.mean(power)).clamp(min=1e-3).sqrt()


def images_of(
    reference: DifferentiableMap,
    matrices: Tensor,
    origins: Tensor,
    noise: float,
    scale: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Images, their CTFs and their precision; ``noise`` is over the map's amplitudes."""
    generator, count = torch.Generator().manual_seed(7), len(matrices)
    ctf = torch.rand(count, len(PLANE.points), generator=generator) * 2 - 1
    points = slice_points(PLANE.points, matrices.float()).reshape(-1, 3)
    clean = ctf * read_cube(reference.plain, points).view(count, -1)
    if scale is not None:
        clean = clean * scale[:, None]
    rest = torch.randn(clean.shape, dtype=torch.complex64, generator=generator)
    level = noise * spectrum(reference)
    return clean * shift_phase(PLANE.points, -origins, SIDE) + level * rest, ctf, 2 / level**2


def test_slices_change_as_their_derivatives_say() -> None:
    """On a fine cube, where interpolation itself makes little error."""
    matrices, fine = random_rotations(4, 3), differentiable(PHANTOM, SHELLS + 1, 6, 6)
    slopes = slices_and_derivatives(fine, PLANE.points, matrices, SIDE)[1]
    coarse = differentiable(PHANTOM, SHELLS + 1)
    used = slices_and_derivatives(coarse, PLANE.points, matrices, SIDE)[1]
    for axis in range(3):
        step = torch.zeros(1, 3, dtype=torch.float64)
        step[0, axis] = 0.03
        ends = [
            slices_and_derivatives(fine, PLANE.points, turn_by(sign * step) @ matrices, SIDE)[0]
            for sign in (1, -1)
        ]
        numeric = (ends[0] - ends[1]) / 0.06
        power = numeric.abs().square().sum()
        assert float((numeric - slopes[:, axis]).abs().square().sum() / power) < 0.05**2
        assert float((numeric - used[:, axis]).abs().square().sum() / power) < 0.1**2
        along = (numeric.conj() * used[:, axis]).real.sum() / power
        assert float(along) == pytest.approx(1, abs=0.02)


def test_gradient_of_the_likelihood_by_finite_differences(reference: DifferentiableMap) -> None:
    truth = random_rotations(6, 3)
    images, ctf, precision = images_of(reference, truth, torch.zeros(6, 2), 0.3)
    present, shifts = jittered(truth, 2.0, 4), torch.full((6, 2), 0.3)

    def fitted(step: Tensor) -> tuple[Tensor, Tensor]:
        turned = turn_by(step[None, :3]) @ present
        found = fit(
            reference, PLANE.points, precision, images, ctf, turned, shifts + step[3:].float(), SIDE
        )
        return found.cost.double(), found.negative_gradient.double()

    negative_gradient = fitted(torch.zeros(5, dtype=torch.float64))[1]
    for parameter, size in enumerate((0.01, 0.01, 0.01, 0.05, 0.05)):
        step = torch.zeros(5, dtype=torch.float64)
        step[parameter] = size
        slope = (fitted(step)[0] - fitted(-step)[0]) / (2 * size)
        largest = negative_gradient[:, parameter].abs().max()
        assert float((slope + negative_gradient[:, parameter]).abs().max() / largest) < 0.1


def test_poses_are_found_between_the_lattice_points(reference: DifferentiableMap) -> None:
    count = 40
    truth = random_rotations(count, 5)
    origins = torch.from_numpy(np.random.default_rng(2).uniform(-0.5, 0.5, (count, 2))).float()
    images, ctf, precision = images_of(reference, truth, origins, 0.6)
    start = jittered(truth, 1.0, 6)
    around = neighbourhood(1.5, 2.0, shift_grid(1.0, 0.5), point_group("C1"), 30.0)
    trial = LocalTrial(
        reference.plain, PLANE.points, precision, around, SIDE, torch.zeros(1), False
    )
    best, _ = local_expectation(trial, images, ctf, start)
    moved = images * shift_phase(PLANE.points, best.origins, SIDE)
    matrices, shifts = gauss_newton(
        reference, PLANE.points, precision, moved, ctf, best.matrices, SIDE
    )
    on_lattice, between = (angular_distance(found, truth) for found in (best.matrices, matrices))
    assert float(between.median()) < 0.8 * float(on_lattice.median())
    beside = [
        (found - origins).norm(dim=1).median() for found in (best.origins, best.origins + shifts)
    ]
    assert float(beside[1]) < 0.8 * float(beside[0])
    gone = torch.eye(3, dtype=torch.float64).expand(count, 3, 3)
    torch.testing.assert_close(matrices @ matrices.transpose(1, 2), gone, atol=1e-6, rtol=0)


def test_fulcrum_stays_in_its_place(reference: DifferentiableMap) -> None:
    """Particles turned about a point: only with that fulcrum does turning alone find them."""
    count, fulcrum = 30, torch.tensor([8.0, -3.0, 5.0], dtype=torch.float64)
    start = random_rotations(count, 5)
    truth = jittered(start, 3.0, 6)
    origins = ((truth - start)[:, :2] @ fulcrum).float()
    images, ctf, precision = images_of(reference, truth, origins, 0.6)
    turns = neighbourhood(1.5, 4.0, torch.zeros(1, 2), point_group("C1"), 1.0)
    about = replace(turns, fulcrum=fulcrum)
    found = [
        local_expectation(
            LocalTrial(reference.plain, PLANE.points, precision, around, SIDE, torch.zeros(1)),
            images,
            ctf,
            start,
        )
        for around in (turns, about)
    ]
    errors = [float(angular_distance(best.matrices, truth).median()) for best, _ in found]
    assert errors[1] < 1.2 < errors[0]
    best, sums = found[1]
    assert float((best.origins - origins).norm(dim=1).median()) < 0.25
    # The sums are those of a map centred where it was.
    assert sums is not None
    points = slice_points(PLANE.points, sums.matrices.float()).reshape(-1, 3)
    slices = read_cube(reference.plain, points)[0].view(sums.data[0].shape)
    product = (sums.data[0] * slices.conj()).sum() / (sums.weight[0] * slices.abs() ** 2).sum()
    assert float(product.real) == pytest.approx(1, abs=0.1)


def test_priors_weigh_as_gaussians(reference: DifferentiableMap) -> None:
    """Images of noise alone: what is found is what the prior says."""
    start = random_rotations(2, 5)
    present = turn_by(torch.tensor([[0.0, math.radians(3), 0.0]] * 2, dtype=torch.float64)) @ start
    offsets = torch.tensor([[1.0, 0.0], [0.0, -2.0]])
    prior = PlacePrior(start, offsets, 2.0, 1.5)
    shifts = shift_grid(1.0, 1.0)
    log = prior.log(present[:, None], shifts)
    for i in range(2):
        for t, shift in enumerate(shifts):
            far = float((offsets[i] + shift).norm())
            assert float(log[i, 0, t]) == pytest.approx(
                -((3 / 2) ** 2 + (far / 1.5) ** 2) / 2, 1e-4
            )
    around = neighbourhood(1.0, 3.0, shift_grid(2.0, 1.0), point_group("C1"), 10.0)
    nothing, even = torch.zeros(2, len(PLANE.points)), torch.ones(len(PLANE.points))
    trial = LocalTrial(reference.plain, PLANE.points, even, around, SIDE, torch.zeros(1), False)
    best, _ = local_expectation(
        trial, torch.complex(nothing, nothing), nothing, present, place_prior=prior
    )
    assert float(angular_distance(best.matrices, start).max()) < 0.8
    torch.testing.assert_close(best.origins, -offsets)


def test_mates_are_searched(reference: DifferentiableMap) -> None:
    mates = point_group("C3").double()
    truth = random_rotations(9, 5)
    start = truth @ mates[torch.arange(9) % 3]
    images, ctf, precision = images_of(reference, truth, torch.zeros(9, 2), 0.6)
    lattice = neighbourhood(2.0, 1.0, torch.zeros(1, 2), point_group("C1"), 1.0)
    relaxed = replace(lattice, mates=mates)
    trial = LocalTrial(
        reference.plain, PLANE.points, precision, relaxed, SIDE, torch.zeros(1), False
    )
    best, _ = local_expectation(trial, images, ctf, start)
    assert float(angular_distance(best.matrices, truth).max()) < 1


def test_scales_are_found(reference: DifferentiableMap) -> None:
    count = 150
    truth = random_rotations(count, 5)
    scales = torch.from_numpy(np.random.default_rng(3).uniform(0.5, 1.5, count)).float()
    images, ctf, precision = images_of(reference, truth, torch.zeros(count, 2), 1.2, scales)
    former = torch.from_numpy(np.random.default_rng(4).uniform(0.8, 1.2, count)).float()
    around = neighbourhood(2.0, 1.0, torch.zeros(1, 2), point_group("C1"), 1.0)

    def found(former: Tensor, images: Tensor, precision: Tensor) -> Tensor:
        trial = LocalTrial(
            reference.plain, PLANE.points, precision, around, SIDE, torch.zeros(1), False
        )
        best: LocalPoseEstimates = local_expectation(trial, images, ctf * former[:, None], truth)[0]
        return particle_contrast(best, former, torch.zeros(count, dtype=torch.int64))

    ours = found(former, images, precision)
    assert float(ours.mean()) == pytest.approx(1, abs=1e-5)
    assert float((ours - scales / scales.mean()).abs().median()) < 0.06
    generator = torch.Generator().manual_seed(3)
    rest = torch.randn(images.shape, dtype=torch.complex64, generator=generator)
    drowned = found(
        torch.ones(count), images + 200 * spectrum(reference) * rest, precision * (1.2 / 200) ** 2
    )
    assert float((drowned - 1).abs().median()) < float((scales - 1).abs().median())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"angle_prior": 3.0}, "own poses"),
        ({"local_search": 3.75, "shift_prior": 0.0}, "not more than 0"),
        ({"local_search": 3.75, "relax_symmetry": "C3", "symmetry": "C3"}, "all alike"),
        ({"local_search": 3.75, "relax_symmetry": "C3", "angle_prior": 2.0}, "farther"),
    ],
)
def test_bad_options(options: dict, words: str) -> None:
    with pytest.raises(OptionError, match=words):
        check_locality(RefineConfig(Path("x"), reference=Path("y"), out=Path("z"), **options))


def test_local_refinement_from_end_to_end(tmp_path: Path) -> None:
    """From true poses, with all that is optional: they stay near, and every scale is about 1."""
    star = simulated(tmp_path / "data", 200, box=32, pixel_size=8.0, snr=0.5, seed=5)
    config = RefineConfig(
        star, reference=star.parent / "truth.mrc", out=tmp_path / "job", mask_diameter=180.0,
        local_search=3.75, angle_prior=4.0, shift_prior=4.0, fulcrum=(40.0, 0.0, 0.0),
        per_particle_scale=True, regulariser="nonuniform", iterations=4, check=False,
    )  # fmt: skip
    job = run_refine(config)
    assert json.loads((job / "result.json").read_text())["resolution_0143"] < 25
    before, after = (read_poses(read_particles(s)) for s in (star, job / "particles.star"))
    turned = angular_distance(*(torch.from_numpy(p.matrices) for p in (before, after)))
    assert float(turned.median()) < 4
    assert float(np.median(np.linalg.norm(after.origins - before.origins, axis=1))) < 4
    scales = read_particles(job / "particles.star").scale
    assert scales.mean() == pytest.approx(1, abs=1e-3) and np.abs(scales - 1).max() < 0.5
