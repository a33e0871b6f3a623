"""The fast kernels against the readable reference, and against each other as transposes."""

from __future__ import annotations

import math

import pytest
import torch

from vitreous.kernels.angular import (
    analyse_images,
    angular_basis,
    backproject,
    correlation_operand,
    psi_matrix,
    ring_inner_products,
    ring_samples,
    scores,
)
from vitreous.math.so3 import orientation_grid
from vitreous.math.symmetry import point_group
from vitreous.physics.polar import PolarGrid
from vitreous.physics.project import map_to_cube
from vitreous.search.expectation import expectation, references
from vitreous.search.grid import shift_grid
from vitreous.search.score import reference_log_likelihood

CPU = torch.device("cpu")


@pytest.mark.parametrize("order", [0, 1, 2])
@pytest.mark.parametrize("maps", [1, 2])
def test_posterior_equals_the_reference(order: int, maps: int) -> None:
    torch.manual_seed(order)
    box, rings, images = 32, 8, 3
    # 48 samples are a multiple of every in-plane step tried, so turned rings are exact shifts.
    polar = PolarGrid(rings, 48, 24)
    cube = map_to_cube(0.05 * torch.randn(maps, box, box, box), rings + 1)
    grid = orientation_grid(order, point_group("D2"))
    samples = torch.randn(images, rings, polar.half, dtype=torch.complex64)
    ctf, noise = torch.rand(images, rings, polar.half), torch.rand(rings) + 0.5
    shifts = shift_grid(2, 1)
    reference = reference_log_likelihood(cube, grid, polar, samples, ctf, noise, shifts, box)
    flat = reference.permute(2, 0, 1, 3)
    evidence = flat.flatten(1).logsumexp(1)
    refs = references(cube, grid, polar)
    prior = torch.zeros(maps * len(grid.directions))
    best, sums = expectation(refs, samples, ctf, noise, shifts, box, prior)
    torch.testing.assert_close(best.log_evidence, evidence, atol=1e-3, rtol=0)
    posterior = (flat - evidence[:, None, None, None]).exp()
    torch.testing.assert_close(best.probability, posterior.flatten(1).amax(1), atol=1e-3, rtol=0)
    here = torch.arange(images)
    at_best = posterior[here, best.psi, best.reference, best.shift]
    torch.testing.assert_close(at_best, posterior.flatten(1).amax(1), atol=1e-3, rtol=0)
    per_map = posterior.sum(dim=(1, 3)).view(images, maps, -1).sum(-1)
    torch.testing.assert_close(best.map_probability, per_map, atol=1e-3, rtol=0)
    assert sums is not None
    # The weights of the M-step are the posterior times CTF^2, wherever they end up.
    area = polar.radii()[:, None]
    total = (posterior.sum(dim=(1, 2, 3))[:, None, None] * ctf**2 * area).sum()
    torch.testing.assert_close((sums.weight.sum(2).T * area).sum(), total, rtol=1e-3, atol=0)


def test_backprojection_is_the_transpose_of_scoring() -> None:
    torch.manual_seed(0)
    polar = PolarGrid(6, 48, 24)
    bases = [angular_basis(polar, 24, parity, CPU) for parity in (0, 1)]
    reference = torch.randn(polar.half, 6, 5, dtype=torch.complex64)
    images = torch.randn(polar.half, 6, 7, dtype=torch.complex64)
    slices, spectra = analyse_images(reference, bases), analyse_images(images, bases)
    to_psi = torch.cat([psi_matrix(basis, 24) for basis in bases], dim=1)
    ring_weight = torch.rand(6)
    operands = [correlation_operand(s, ring_weight, b) for s, b in zip(slices, bases, strict=True)]
    weights = torch.randn(24, 5, 7)
    forward = (weights * scores(operands, spectra, to_psi)).sum()
    sums = backproject(weights, spectra, to_psi.T.contiguous(), bases)
    backward = (ring_inner_products(sums, slices, bases) * ring_weight).sum()
    torch.testing.assert_close(forward, backward, rtol=1e-4, atol=1e-4)


def test_samples_come_back_from_their_coefficients() -> None:
    torch.manual_seed(1)
    polar = PolarGrid(4, 48, 24)
    bases = [angular_basis(polar, 12, parity, CPU) for parity in (0, 1)]
    samples = torch.randn(polar.half, 4, 3, dtype=torch.complex64)
    back = ring_samples(analyse_images(samples, bases), bases)
    torch.testing.assert_close(back, samples, atol=1e-5, rtol=0)


def test_shift_grid_is_the_disc_of_lattice_points() -> None:
    grid = shift_grid(6, 2)
    count = sum(math.hypot(x, y) <= 3 for x in range(-3, 4) for y in range(-3, 4))
    assert len(grid) == count
    assert grid.norm(dim=1).max() <= 6
