"""The fast kernels against the readable reference, and against each other as transposes."""

from __future__ import annotations

import math

import pytest
import torch

from vitreous.engine.searches.grid import Trial, expectation, references
from vitreous.engine.searches.sampling import shift_grid
from vitreous.engine.searches.score import reference_log_likelihood
from vitreous.engine.searches.tiles import Tiling, tile_size
from vitreous.imaging.masks import soft_sphere
from vitreous.imaging.phantom import built_in_phantom
from vitreous.imaging.polar import PolarGrid, polar_grid, polar_matrix, to_polar
from vitreous.imaging.project import (
    FourierCube,
    image_frequencies,
    map_to_cube,
    read_cube,
    shift_phase,
    slice_points,
)
from vitreous.math.rotations import random_rotations
from vitreous.math.so3 import orientation_grid
from vitreous.math.symmetry import point_group
from vitreous.ops import compiler, cubes
from vitreous.ops.angular import (
    AngularBasis,
    analyse,
    angular_basis,
    backprojected,
    by_residue,
    correlation_operand,
    products,
    psi_matrix,
    ring_inner_products,
    ring_samples,
    thinned,
    turned_back,
)
from vitreous.ops.polar import ring_transform
from vitreous.ops.scratch import Scratch
from vitreous.ops.spectra import spectra, spectra_eagerly
from vitreous.ops.weights import weigh, weigh_eagerly
from vitreous.reconstruct.accumulator import (
    Accumulator,
    empty_accumulator,
    insert,
    symmetrised,
)
from vitreous.reconstruct.solve import solve
from vitreous.validate.fsc import fsc
from vitreous.validate.symmetry.rotate import symmetrise_map

CPU = torch.device("cpu")


def both_bases(polar: PolarGrid, n_psi: int) -> list[AngularBasis]:
    return [angular_basis(polar, n_psi, parity, CPU) for parity in (0, 1)]


@pytest.mark.parametrize("order", [0, 1, 2])
@pytest.mark.parametrize("maps", [1, 2])
@pytest.mark.parametrize("compiled", [True, False])
def test_posterior_equals_the_reference(
    order: int, maps: int, compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiler, "COMPILED", compiled)
    torch.manual_seed(order)
    box, rings, images = 32, 8, 3
    # 48 samples are a multiple of every in-plane step tried, so turned rings are exact shifts.
    polar = PolarGrid(48, (24,) * rings)
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
    trial = Trial(refs, noise, shifts, box, prior, Tiling())
    best, sums = expectation(trial, samples, ctf)
    torch.testing.assert_close(best.log_evidence, evidence, atol=1e-3, rtol=0)
    posterior = (flat - evidence[:, None, None, None]).exp()
    here = torch.arange(images)
    per_map = posterior.sum(dim=(1, 3)).view(images, maps, -1).sum(-1)
    # The best place is that of the likeliest map.
    by_map = posterior.unflatten(2, (maps, -1)).transpose(1, 2).flatten(2)
    highest = by_map[here, per_map.argmax(1)].amax(1)
    torch.testing.assert_close(best.probability, highest, atol=1e-3, rtol=0)
    at_best = posterior[here, best.psi, best.reference, best.shift]
    torch.testing.assert_close(at_best, highest, atol=1e-3, rtol=0)
    torch.testing.assert_close(best.map_probability, per_map, atol=1e-3, rtol=0)
    assert sums is not None
    # The weights of the M-step are the posterior times CTF^2, wherever they end up.
    area = polar.radii()[:, None]
    total = (posterior.sum(dim=(1, 2, 3))[:, None, None] * ctf**2 * area).sum()
    torch.testing.assert_close((sums.weight.sum(0) * area).sum(), total, rtol=1e-3, atol=0)


@pytest.mark.parametrize("n_psi", [12, 24, 48])
def test_backprojection_is_the_transpose_of_scoring(n_psi: int) -> None:
    torch.manual_seed(0)
    polar = polar_grid(9, 0.9)
    bases = both_bases(polar, n_psi)
    slices = analyse(torch.randn(5, 9, polar.half, dtype=torch.complex64), bases)
    spectra = analyse(torch.randn(7, 9, polar.half, dtype=torch.complex64), bases)
    on, ring_weight = psi_matrix(bases), torch.rand(9)
    operands = [correlation_operand(s, ring_weight, b) for s, b in zip(slices, bases, strict=True)]
    columns = [by_residue(s, torch.float32) for s in spectra]
    weights = torch.randn(n_psi, 7 * 5)
    z = products(operands, columns).view(-1, 7, 2, 5).permute(0, 2, 1, 3)
    forward = (weights * (on @ z.reshape(on.shape[1], -1))).sum()
    turned = (on.T @ weights).view(-1, 2, 7, 5).permute(0, 2, 1, 3).reshape(-1, 7, 10)
    sums = [
        turned_back(part.view(len(part), 2, 5, -1), basis)
        for part, basis in zip(backprojected(turned, columns), bases, strict=True)
    ]
    backward = (ring_inner_products(sums, slices, bases, 9) * ring_weight).sum()
    torch.testing.assert_close(forward, backward, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("n_psi", [12, 24])
def test_samples_come_back_from_their_coefficients(n_psi: int) -> None:
    torch.manual_seed(1)
    polar = PolarGrid(48, (24,) * 4)
    bases = both_bases(polar, n_psi)
    samples = torch.randn(3, 4, polar.half, dtype=torch.complex64)
    back = ring_samples(analyse(samples, bases), bases, 4)
    torch.testing.assert_close(back, samples, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("box", "rings", "steps"), [(64, 32, 1.0), (49, 20, 1.0), (40, 16, 1.23), (16, 4, 1.7)]
)
def test_images_come_to_rings_as_by_the_matrix(box: int, rings: int, steps: float) -> None:
    torch.manual_seed(3)
    images, grid = torch.randn(150, box, box), polar_grid(rings, 0.9)
    to_rings = ring_transform(box, grid, steps)
    found, expected = to_rings(images), to_polar(images, grid, polar_matrix(box, grid, steps))
    assert (found - expected).norm() < 2e-5 * expected.norm()
    for count in (1, 2, 67):
        torch.testing.assert_close(to_rings(images[:count]), found[:count], rtol=0, atol=0)


def test_the_bands_hold_what_the_mask_lets_through() -> None:
    torch.manual_seed(2)
    box, rings, radius = 64, 20, 22.0
    images = torch.randn(4, box, box) * soft_sphere(box, radius, 4.0, 2)
    polar = polar_grid(rings, 2 * (radius + 4.0) / box)
    samples = to_polar(images, polar, polar_matrix(box, polar))
    back = ring_samples(analyse(samples, both_bases(polar, 24)), both_bases(polar, 24), rings)
    assert (back - samples).norm() < 1e-3 * samples.norm()


def test_fewer_angles_hold_the_same_rings() -> None:
    torch.manual_seed(7)
    box, radius = 64, 22.0
    images = torch.randn(4, box, box) * soft_sphere(box, radius, 4.0, 2)
    polar = polar_grid(24, 2 * (radius + 4.0) / box)
    thin = polar.inner(10)
    assert thin.n_angles < polar.n_angles
    every = to_polar(images, polar, polar_matrix(box, polar))[:, :10]
    few, ctf = thinned(every, torch.full(every.shape, 0.5), polar, thin)
    expected = to_polar(images, thin, polar_matrix(box, thin))
    assert (few - expected).norm() < 1e-3 * expected.norm()
    torch.testing.assert_close(ctf, torch.full(few.shape, 0.5))


@pytest.mark.parametrize("n_psi", [12, 24, 48])
@pytest.mark.parametrize("references", [16, 80, 400])
@pytest.mark.parametrize("spread", [0.0, 1.0, 30.0])
def test_the_compiled_weights_are_the_eager_ones(
    n_psi: int, references: int, spread: float
) -> None:
    torch.manual_seed(3)
    images, shifts = 5, 3
    bases = both_bases(polar_grid(4, 1.0), n_psi)
    residues, even = n_psi // 2 + 1, len(bases[0].sign)
    z = spread * torch.randn(residues, images * shifts, 2 * references)
    norms = spread * torch.randn(even, images, 2 * references)
    inputs = [(z.clone(), norms.clone()) for _ in range(2)]
    on = psi_matrix(bases)
    fast, slow = (
        way(*given, on, back=True)
        for way, given in zip((weigh, weigh_eagerly), inputs, strict=True)
    )
    for field in ("log_evidence", "highest", "orientation_posterior"):
        torch.testing.assert_close(getattr(fast, field), getattr(slow, field), rtol=1e-4, atol=1e-5)
    if spread > 0:  # else all places tie
        for field in ("psi", "reference", "shift"):
            assert torch.equal(getattr(fast, field), getattr(slow, field))
    (fast_turned, fast_norms), (slow_turned, slow_norms) = inputs
    found = torch.zeros_like(fast_turned)
    turned = fast_turned[:, : len(fast.columns)] * fast.scale[:, None]
    found.index_add_(1, fast.columns, turned)  # those filled up weigh nothing
    torch.testing.assert_close(found, slow_turned * slow.scale[:, None], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(fast_norms, slow_norms, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("n_psi", [12, 24])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_gpu_weights_are_the_eager_ones(n_psi: int, dtype: torch.dtype) -> None:
    pytest.importorskip("triton", reason="Triton is not installed")
    from vitreous.ops import gpu

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(8)
    images, shifts, references = 2, 3, 32
    bases = [angular_basis(polar_grid(4, 1.0), n_psi, parity, device) for parity in (0, 1)]
    z = torch.randn(n_psi // 2 + 1, images * shifts, 2 * references, device=device).to(dtype)
    norms = torch.randn(len(bases[0].sign), images, 2 * references, device=device)
    on = psi_matrix(bases)
    fast_z, fast_norms = z.clone(), norms.clone()
    mass, peak, psi, reference, shift = gpu.sweep(fast_z, fast_norms, on, back=True)
    slow = weigh_eagerly(z, norms, on, back=True)
    total = mass.sum(dim=1, keepdim=True)
    torch.testing.assert_close(mass / total, slow.orientation_posterior, atol=1e-6, rtol=1e-4)
    torch.testing.assert_close((peak + total[:, 0].log2()) * math.log(2), slow.log_evidence)
    for found, expected in ((psi, slow.psi), (reference, slow.reference), (shift, slow.shift)):
        assert torch.equal(found, expected)
    torch.testing.assert_close(fast_z, z, atol=1e-5, rtol=1e-2 if dtype == torch.bfloat16 else 1e-4)
    torch.testing.assert_close(fast_norms / total, norms, atol=1e-5, rtol=1e-4)


@pytest.mark.slow
def test_bfloat16_products_move_the_weights_by_their_rounding_only() -> None:
    torch.manual_seed(4)
    bases, images, shifts, references = both_bases(polar_grid(4, 1.0), 24), 4, 5, 96
    z = torch.randn(13, images * shifts, 2 * references).bfloat16()
    norms, on = torch.randn(7, images, 2 * references), psi_matrix(bases)
    exact, rounded = z.float(), z.clone()
    exactly = weigh(exact, norms.clone(), on, back=True)
    nearly = weigh(rounded, norms.clone(), on, back=True)
    torch.testing.assert_close(nearly.orientation_posterior, exactly.orientation_posterior)
    assert torch.equal(nearly.columns, exactly.columns)
    kept = len(exactly.columns)
    torch.testing.assert_close(rounded[:, :kept].float(), exact[:, :kept], rtol=2**-8, atol=1e-30)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_compiled_spectra_are_the_eager_ones(dtype: torch.dtype) -> None:
    torch.manual_seed(5)
    polar = polar_grid(6, 0.8)
    bases = both_bases(polar, 24)
    images = torch.randn(3, 6, polar.half, dtype=torch.complex64)
    contrast = torch.rand(3, 6, polar.half)
    phases = shift_phase(polar.points(), shift_grid(2, 1), 32)
    arguments = (images, contrast, phases, bases)
    tolerance = 1e-5 if dtype == torch.float32 else 0.03
    for fast, slow in zip(
        spectra(*arguments, Scratch(dtype, CPU)),
        spectra_eagerly(*arguments, torch.float32),
        strict=True,
    ):
        torch.testing.assert_close(fast.float(), slow, atol=tolerance, rtol=0)


def random_cubes(maps: int, side: int) -> torch.Tensor:
    """Half cubes that hold both Friedel mates at x = 0."""
    data = torch.randn(maps, side, side, side // 2 + 1, dtype=torch.complex64)
    data[..., 0] += data[..., 0].flip((1, 2)).conj()
    return data


@pytest.mark.parametrize("cores", [1, 3])
def test_the_compiled_cube_is_read_and_filled_as_the_eager_one(cores: int) -> None:
    torch.manual_seed(6)
    maps, side, padding, count = 2, 21, 2, 500
    data = random_cubes(maps, side)
    points = (torch.rand(count, 3) - 0.5) * (side - 1) / padding
    torch.testing.assert_close(
        cubes.read(FourierCube(data, padding), points),
        read_cube(FourierCube(data, padding), points),
        atol=1e-5,
        rtol=0,
    )
    turns = padding * point_group("D3").float()
    samples = torch.randn(maps, len(turns), count, dtype=torch.complex64)
    shares = torch.rand(maps, len(turns), count)
    fast, slow = (
        [torch.zeros_like(data), torch.zeros_like(data, dtype=torch.float32)] for _ in range(2)
    )
    cubes.insert(*fast, points, turns, samples, shares, cores)  # some points lie outside
    cubes.insert_eagerly(*slow, points, turns, samples, shares)
    for one, other in zip(fast, slow, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0)


def test_the_sums_are_the_same_bits_on_any_number_of_cores() -> None:
    torch.manual_seed(10)
    plane = image_frequencies(16).reshape(-1, 2)
    plane = plane[plane.norm(dim=1) < 8]
    samples = torch.randn(1, 30, len(plane), dtype=torch.complex64)
    shares, matrices = torch.rand(1, 30, len(plane)), random_rotations(30, 4)
    found = []
    for cores in (1, 2, 5):
        found.append(empty_accumulator(1, 9, 2))
        insert(found[-1], plane, matrices[:, :2], samples, shares, cores)
    for other in found[1:]:
        assert torch.equal(found[0].data, other.data) and torch.equal(found[0].weight, other.weight)


@pytest.mark.parametrize("cores", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
def test_neighbours_are_shared_as_axis_by_axis(
    dtype: torch.dtype, cores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: cores)
    torch.manual_seed(9)
    block, beyond = torch.randn(9, 9, 5, dtype=dtype), torch.randn(9, 9, 2, dtype=dtype)
    for first, count in ((0, 9), (2, 3), (1, 8)):
        own = slice(max(first - 2, 0), first + count + 2)
        given = block[own], beyond[own], min(first, 2), count
        torch.testing.assert_close(cubes.smooth(*given), cubes.smooth_eagerly(*given))
    # One voxel far from the ends keeps 6/16 of itself along every axis.
    alone, none = torch.zeros(9, 9, 5, dtype=dtype), torch.zeros(9, 9, 2, dtype=dtype)
    alone[4, 4, 2] = 1
    shared = cubes.smooth(alone, none, 0, 9)
    assert abs(shared[4, 4, 2]) == pytest.approx((6 / 16) ** 3)
    assert abs(shared[2, 4, 3]) == pytest.approx(1 / 16 * 6 / 16 * 4 / 16)


def test_slices_are_read_as_their_points() -> None:
    torch.manual_seed(8)
    maps, side, padding, count = 2, 21, 2, 7
    data = random_cubes(maps, side)
    plane = image_frequencies(8).reshape(-1, 2)
    plane = plane[plane.norm(dim=1) < 4]
    matrices = random_rotations(count, 2)
    points = slice_points(plane, matrices).reshape(-1, 3)
    torch.testing.assert_close(
        cubes.read_planes(FourierCube(data, padding), plane, matrices).flatten(1),
        read_cube(FourierCube(data, padding), points),
        atol=1e-5,
        rtol=0,
    )


def test_a_tile_is_an_equal_share_of_the_work() -> None:
    for images, most in ((100, 13), (7, 100), (1, 1), (300, 22)):
        size = tile_size(images, 10, 10 * most, 2)
        tiles = math.ceil(images / size)
        assert size <= most
        assert tiles % 2 == 0 or images - size * (tiles - 1) <= size < 2


def test_shift_grid_is_the_disc_of_lattice_points() -> None:
    grid = shift_grid(6, 2)
    count = sum(math.hypot(x, y) <= 3 for x in range(-3, 4) for y in range(-3, 4))
    assert len(grid) == count
    assert grid.norm(dim=1).max() <= 6


@pytest.mark.parametrize("group", ["C4", "D2", "O"])
def test_mates_on_the_lattice_are_joined_as_if_inserted(
    group: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(7)
    maps, padding, count = 2, 2, 400
    operators = point_group(group)
    points = 8 * (torch.rand(count, 3) - 0.5)
    points = torch.cat([points, torch.tensor([[0.0, 0, 0], [1, 1, 1], [2, 0, 0]])])  # on axes
    shape = maps, 1, len(points)
    samples, shares = torch.randn(shape, dtype=torch.complex64), torch.rand(shape)
    once, everywhere = (empty_accumulator(maps, 9, padding) for _ in range(2))
    insert(once, points, torch.eye(3)[None], samples, shares)
    for turn in operators.float():
        insert(everywhere, points, turn.T[None], samples, shares)
    once.complete()
    everywhere.complete()
    eager = Accumulator(once.data.clone(), once.weight.clone(), padding)
    found = symmetrised(once, operators)
    with monkeypatch.context() as patched:
        patched.setattr(compiler, "COMPILED", False)
        eager = symmetrised(eager, operators)
    for part in ("data", "weight"):
        ours, expected = getattr(found, part), getattr(everywhere, part)
        torch.testing.assert_close(ours, expected, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(ours, getattr(eager, part), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("group", ["D5", "I"])
def test_spreading_over_mates_is_as_good_as_inserting_at_them(group: str) -> None:
    """Noisy slices of a symmetric map: the truth is found as well, shell by shell."""
    operators = point_group(group)
    truth = symmetrise_map(built_in_phantom(48, 4.0), operators)
    plane = image_frequencies(48).reshape(-1, 2)
    plane = plane[(plane.norm(dim=1) < 22) & (plane[:, 0] > 0)]
    points = slice_points(plane, random_rotations(100, 1).float()).reshape(-1, 3)
    samples = read_cube(map_to_cube(truth[None], 23.0), points)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(samples.shape, dtype=samples.dtype, generator=generator)
    samples = samples + 0.7 * samples.abs().mean() * noise
    curves = []
    for at_mates in (True, False):
        sums = empty_accumulator(1, 23.0, 2)
        for turn in operators.float() if at_mates else torch.eye(3)[None]:
            insert(sums, points, turn.T[None], samples[None], torch.ones(1, *samples.shape))
        sums.complete()
        sums = sums if at_mates else symmetrised(sums, operators)
        curves.append(fsc(solve(sums, None, 48, 22)[0], truth)[1:22])
    assert float((curves[1] - curves[0]).min()) > -0.03
