"""The search of each particle's neighbourhood: lattice, posterior, sums, poses."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from torch import Tensor

from vitreous.engine.planes import half_plane
from vitreous.engine.searches.local import (
    LocalTrial,
    Neighbourhood,
    ball_lattice,
    local_expectation,
    neighbourhood,
)
from vitreous.engine.searches.sampling import shift_grid
from vitreous.imaging.phantom import built_in_phantom
from vitreous.imaging.project import (
    FourierCube,
    map_to_cube,
    read_cube,
    shift_phase,
    slice_points,
)
from vitreous.math.rotations import angular_distance, random_rotations
from vitreous.math.symmetry import point_group

BOX, SHELLS = 32, 10
PLANE = half_plane(SHELLS)


@given(st.floats(1.0, 4.0))
def test_lattice_is_even(reach: float) -> None:
    points = ball_lattice(reach)
    assert float(points.norm(dim=1).max()) <= reach + 1e-6
    apart = torch.cdist(points, points) + 9 * torch.eye(len(points), dtype=torch.float64)
    assert float(apart.min()) == pytest.approx(1.0)
    assert not points[0].any()


def test_lattice_fills_the_ball() -> None:
    reach = 8.0
    volume = 4 / 3 * math.pi * reach**3
    assert len(ball_lattice(reach)) * 4 / math.sqrt(27) == pytest.approx(volume, rel=0.02)


def test_half_plane_holds_one_of_each_pair() -> None:
    points = {tuple(p) for p in PLANE.points.long().tolist()}
    assert not points & {(-x, -y) for x, y in points}
    disc = [
        (x, y) for x in range(-SHELLS, SHELLS) for y in range(-SHELLS, SHELLS)
        if 0 < math.hypot(x, y) < SHELLS
    ]  # fmt: skip
    assert 2 * len(points) == len(disc)
    ones = torch.ones(len(PLANE.points))
    assert torch.equal(PLANE.mean(ones)[1:], torch.ones(SHELLS - 1))
    assert len(PLANE.inner(4).points) == sum(math.hypot(*p) < 4 for p in points)


@pytest.fixture(scope="module")
def cube() -> FourierCube:
    first = built_in_phantom(BOX, 8.0)
    return map_to_cube(torch.stack([first, first.flip(0)]), SHELLS + 1)


def slices_of(cube: FourierCube, matrices: Tensor, number: int = 0) -> Tensor:
    one = FourierCube(cube.data[number : number + 1], cube.padding)
    points = slice_points(PLANE.points, matrices.float())
    return read_cube(one, points.reshape(-1, 3)).view(len(matrices), -1)


def some_images(cube: FourierCube, matrices: Tensor, signal: float) -> tuple[Tensor, Tensor]:
    """Images in complex white noise of unit power, and their CTFs."""
    generator = torch.Generator().manual_seed(2)
    ctf = torch.rand(len(matrices), len(PLANE.points), generator=generator) * 2 - 1
    slices = slices_of(cube, matrices)
    noise = torch.randn(slices.shape, dtype=torch.complex64, generator=generator)
    return ctf * slices * (signal / slices.abs().square().mean().sqrt()) + noise, ctf


def test_posterior_and_sums_are_those_of_the_formula(cube: FourierCube) -> None:
    """Every place by itself, as Scheres 2012 has it, in double precision."""
    matrices = random_rotations(3, 4)
    images, ctf = some_images(cube, matrices, 0.3)
    precision = torch.full((len(PLANE.points),), 2.0)
    log_prior = torch.tensor([0.3, 0.7]).log()
    around = neighbourhood(6.0, 1.0, shift_grid(1, 1), point_group("C1"), 5.0)
    trial = LocalTrial(cube, PLANE.points, precision, around, BOX, log_prior)
    best, sums = local_expectation(trial, images, ctf, matrices)
    assert sums is not None
    total = torch.zeros(2, 3)
    residual = torch.zeros(len(PLANE.points), dtype=torch.float64)
    for i in range(3):
        scores, parts = [], []
        for k in range(2):
            for turn in around.turns:
                model = ctf[i] * slices_of(cube, (turn @ matrices[i])[None], k)[0]
                for shift in around.shifts:
                    moved = images[i] * shift_phase(PLANE.points, shift[None], BOX)[0]
                    misfit = (moved - model).abs().square().double()
                    scores.append(-(misfit * precision).sum() / 2 + log_prior[k])
                    parts.append((k, misfit))
        score = torch.stack(scores)
        empty = -(images[i].abs().square().double() * precision).sum() / 2
        evidence = score.logsumexp(0)
        assert float(best.log_evidence[i]) == pytest.approx(
            float(evidence - empty) + around.log_cell, abs=0.02
        )
        assert float(best.probability[i]) == pytest.approx(
            float((score.max() - evidence).exp()), abs=0.01
        )
        for weight, (k, misfit) in zip((score - evidence).exp(), parts, strict=True):
            total[k, i] += float(weight)
            residual += weight * misfit
    torch.testing.assert_close(best.map_probability, total.T, atol=0.01, rtol=0)
    error = (sums.residual.double() - residual).abs().sum() / residual.sum()
    assert float(error) < 0.01
    power = (ctf.double() ** 2 * precision).sum()
    assert float(sums.weight.double().sum()) == pytest.approx(float(power), rel=0.01)


def test_sums_pull_the_map_towards_the_images(cube: FourierCube) -> None:
    """The gradient of the evidence by finite differences: data - weight * slice."""
    matrices = random_rotations(1, 4)
    images, ctf = some_images(cube, matrices, 0.3)
    precision = torch.full((len(PLANE.points),), 2.0)
    around = Neighbourhood(
        torch.eye(3, dtype=torch.float64)[None], shift_grid(1, 1), 0.0, point_group("C1")
    )

    def evidence(scale: float) -> tuple[float, Tensor]:
        scaled = FourierCube(cube.data * scale, cube.padding)
        only_first = torch.tensor([0.0, -1e9])
        trial = LocalTrial(scaled, PLANE.points, precision, around, BOX, only_first)
        best, sums = local_expectation(trial, images, ctf, matrices)
        assert sums is not None
        part = slices_of(scaled, matrices)[0]
        pull = (sums.data[0] * part.conj()).real - sums.weight[0] * part.abs() ** 2
        return float(best.log_evidence[0]), pull.sum() / scale

    size = 0.5 / float(slices_of(cube, matrices).abs().square().mean().sqrt())
    low, high = evidence(size * 0.999)[0], evidence(size * 1.001)[0]
    slope = (high - low) / (size * 0.002)
    assert float(evidence(size)[1]) == pytest.approx(slope, rel=0.02)


def test_finds_turns_and_shifts(cube: FourierCube) -> None:
    generator = np.random.default_rng(1)
    truth = random_rotations(20, 9)
    off = torch.from_numpy(
        Rotation.from_rotvec(np.radians(generator.normal(size=(20, 3)) * 2)).as_matrix()
    )
    images, ctf = some_images(cube, truth, 12.0)
    origins = torch.from_numpy(generator.uniform(-1, 1, (20, 2))).float()
    images = images * shift_phase(PLANE.points, -origins, BOX)
    scale = 12.0 / slices_of(cube, truth).abs().square().mean().sqrt()
    scaled = FourierCube(cube.data[:1] * scale, cube.padding)
    around = neighbourhood(1.5, 4.0, shift_grid(1.5, 0.25), point_group("C1"), 30.0)
    precision = torch.full((len(PLANE.points),), 2.0)
    trial = LocalTrial(scaled, PLANE.points, precision, around, BOX, torch.zeros(1), False)
    best, _ = local_expectation(trial, images, ctf, off @ truth)
    before = angular_distance(off @ truth, truth)
    after = angular_distance(best.matrices, truth)
    assert float(after.median()) < 1.5 < float(before.median())
    assert float((best.origins - origins).norm(dim=1).median()) < 0.2
