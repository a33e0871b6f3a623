"""Pruning keeps the posterior, and images under a restricted search are those of the full one."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import Tensor

from vitreous.engine.adaptive_search import AdaptiveSearch
from vitreous.engine.searches.alike_tiles import alike_tiles
from vitreous.engine.searches.grid import Trial, expectation, references
from vitreous.engine.searches.posterior import PoseEstimates, significant
from vitreous.engine.searches.sampling import shift_grid
from vitreous.engine.searches.tiles import Tiling
from vitreous.imaging.phantom import built_in_phantom
from vitreous.imaging.polar import polar_grid
from vitreous.imaging.project import FourierCube, map_to_cube
from vitreous.math.so3 import OrientationGrid, neighbours, orientation_grid
from vitreous.math.symmetry import point_group
from vitreous.ops.angular import ring_samples

BOX, RINGS = 32, 8
POLAR = polar_grid(RINGS, 1.0)


def search(
    cube: FourierCube,
    grid: OrientationGrid,
    images: Tensor,
    allowed: Tensor | None = None,
    *,
    accumulate: bool = True,
    scores: int = 40_000,
) -> tuple[PoseEstimates, Tensor | None]:
    """Best places, and the data that the M-step would get."""
    refs = references(cube, grid, POLAR)
    maps = cube.data.shape[0]
    alike = torch.zeros(maps * len(grid.directions))
    trial = Trial(
        refs, torch.ones(RINGS), shift_grid(2, 1), BOX, alike, Tiling(scores), accumulate=accumulate
    )
    best, sums = expectation(trial, images, torch.ones(images.shape), allowed)
    return best, None if sums is None else sums.data


def images_of(cube: FourierCube, count: int, signal: float) -> Tensor:
    """Slices along directions that no search grid holds, in complex white noise."""
    generator = torch.Generator().manual_seed(5)
    grid = orientation_grid(1, point_group("C1"), seed=1)
    refs = references(cube, grid, POLAR)
    noise = torch.randn(count, RINGS, POLAR.half, dtype=torch.complex64, generator=generator)
    slices = ring_samples(refs.slices, refs.bases, RINGS)[:count]
    return slices * (signal / slices.abs().square().mean().sqrt()) + noise


@pytest.fixture(scope="module")
def cube() -> FourierCube:
    volume = built_in_phantom(BOX, 8.0)
    two = torch.stack([volume, volume.flip(0)])
    return map_to_cube(two / two.std() * 0.02, RINGS + 1)


def test_significant_is_the_smallest_set() -> None:
    mass = torch.tensor([[0.1, 0.6, 0.2995, 0.0005], [0.0, 0.9985, 0.0015, 0.0]])
    rule = significant(mass, 0.999).tolist()
    assert rule == [[True, True, True, False], [False, True, True, False]]
    assert significant(mass, 0.5).sum(dim=1).tolist() == [1, 1]


@pytest.mark.parametrize("signal", [0.0, 0.3, 2.0])
@pytest.mark.parametrize("group", ["C1", "D2"])
def test_pruning_keeps_the_posterior(cube: FourierCube, signal: float, group: str) -> None:
    operators = point_group(group)
    coarse, fine = orientation_grid(1, operators), orientation_grid(2, operators)
    images = images_of(cube, 24, signal)
    first, _ = search(cube, coarse, images, accumulate=False)
    near = neighbours(fine, coarse, operators, 30.0).float()
    allowed = ((first.significant.view(24, 2, -1).float() @ near) > 0).flatten(1)
    full, _ = search(cube, fine, images)
    # One image a tile: none profits from what others are allowed.
    pruned, _ = search(cube, fine, images, allowed, scores=1)
    kept = (pruned.log_evidence - full.log_evidence).exp()
    assert kept.max() < 1 + 1e-3
    assert kept.mean() >= 0.999
    sure = full.probability > 0.1
    for name in ("psi", "reference", "shift"):
        assert torch.equal(getattr(pruned, name)[sure], getattr(full, name)[sure])
    nearby = neighbours(fine, fine, operators, 15.0).float()
    left = ((pruned.significant.view(24, 2, -1).float() @ nearby) > 0).flatten(1)
    again, _ = search(cube, fine, images, left & allowed, scores=1)
    assert (again.log_evidence - pruned.log_evidence).exp().mean() >= 0.999
    if signal == 2.0:
        assert sure.any()
        assert not allowed.all()
        assert (left & allowed).sum() < allowed.sum()


def estimates(significant: Tensor) -> PoseEstimates:
    """Of particles with these significant references; the rest does not matter here."""
    zeros = torch.zeros(len(significant))
    number = zeros.long()
    by_map = torch.ones(len(significant), 1)
    return PoseEstimates(zeros, zeros, by_map, zeros, number, number, number, significant)


@pytest.mark.parametrize("any_map", [False, True])
def test_a_finer_search_leaves_what_is_near_the_places_it_found(any_map: bool) -> None:
    operators = point_group("C1")
    coarse, fine = orientation_grid(0, operators), orientation_grid(1, operators)
    directions, maps, step = len(fine.directions), 2, 30.0
    start = estimates(torch.ones(3, maps * len(coarse.directions), dtype=torch.bool))
    adaptive = AdaptiveSearch(
        start, coarse, fine, step, torch.zeros(3, 2), torch.zeros(1, 2), operators, maps, any_map
    )
    assert adaptive.places(torch.arange(3), RINGS).allowed.all()
    found = torch.zeros(2, maps * directions, dtype=torch.bool)
    found[0, 5] = found[1, directions + 7] = True
    left = adaptive.narrowed(torch.tensor([2, 0]), estimates(found))
    allowed = left.places(torch.arange(3), RINGS).allowed.view(3, maps, directions)
    assert not allowed[1].any()
    for particle, number, direction in ((2, 0, 5), (0, 1, 7)):
        axes = fine.directions[:, :, 2]
        angle = torch.rad2deg((axes @ axes[direction]).clamp(-1, 1).acos())
        assert torch.equal(allowed[particle, number], angle <= step)
        assert allowed[particle, 1 - number].any() == any_map


@given(hnp.arrays(bool, st.tuples(st.integers(1, 40), st.integers(1, 30))), st.integers(1, 9))
def test_each_image_is_in_one_tile(allowed: np.ndarray, size: int) -> None:
    tiles = alike_tiles(torch.from_numpy(allowed), size)
    assert torch.equal(torch.cat(tiles).sort().values, torch.arange(len(allowed)))
    assert [len(tile) for tile in tiles[:-1]] == [size] * (len(tiles) - 1)
    assert len(tiles[-1]) <= size


@pytest.mark.parametrize("references", [40, 4_000])
def test_images_that_try_the_same_share_a_tile(references: int) -> None:
    quarter = references // 4
    allowed = torch.zeros(16, references, dtype=torch.bool)
    allowed[0::2, :quarter] = True
    allowed[1::2, -quarter:] = True
    allowed[5] = allowed[8] = True
    tiles = alike_tiles(allowed, 7)
    together = [int(allowed[tile].any(dim=0).sum()) for tile in tiles]
    assert together == [quarter, quarter, references]
    assert sorted(tiles[-1].tolist()) == [5, 8]


def test_a_search_of_everything_allowed_is_the_full_search(cube: FourierCube) -> None:
    grid = orientation_grid(1, point_group("C1"))
    images = images_of(cube, 20, 0.5)  # more than a tile
    full, data = search(cube, grid, images)
    same, same_data = search(
        cube, grid, images, torch.ones(20, 2 * len(grid.directions), dtype=torch.bool)
    )
    torch.testing.assert_close(same.log_evidence, full.log_evidence)
    torch.testing.assert_close(same.map_probability, full.map_probability)
    torch.testing.assert_close(same_data, data, atol=1e-3, rtol=1e-3)
    assert torch.equal(same.reference, full.reference)
    looked, none = search(cube, grid, images, accumulate=False)
    assert none is None
    torch.testing.assert_close(looked.log_evidence, full.log_evidence)


def test_a_direction_is_near_those_within_reach() -> None:
    operators = point_group("C3")
    coarse, fine = orientation_grid(1, operators), orientation_grid(2, operators)
    near = neighbours(fine, coarse, operators, 30.0)
    assert near.any(dim=0).all()  # no fine direction is out of reach
    c, f = 3, 11
    mates = operators @ coarse.directions[c][:, 2]
    angles = torch.rad2deg(torch.arccos((mates @ fine.directions[f][:, 2]).clamp(-1, 1)))
    assert bool(near[c, f]) == (float(angles.min()) <= 30.0)
    everything = neighbours(fine, coarse, operators, math.degrees(math.pi))
    assert everything.all()
