"""The verdict: how maps are compared, and which evidence leads to which word."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from vitreous.jobs.abinit.verdict import Evidence, Sorted, judge
from vitreous.math.gaussians import gaussian_sum
from vitreous.math.symmetry import point_group
from vitreous.physics.masks import soft_sphere
from vitreous.search.expectation import shares
from vitreous.validate.labels import adjusted_rand_index, contingency, matched
from vitreous.validate.reproducibility import (
    Agreement,
    agreement,
    agreement_with_mirror,
    pose_differences,
)

BOX, PIXEL, WIDTH = 40, 5.0, 7.0
TURN = torch.linspace(0, 9, 14)
HELIX = torch.stack([30 * TURN.cos(), 30 * TURN.sin(), 11 * (TURN - 4.5)], dim=1)


def evidence(
    resolutions: list[float],
    own_mirror: float = 60.0,
    contrast: float = 50.0,
    sorted_alike: float | None = None,
) -> Evidence:
    """The likeliest of the starts, and how far each of the others agrees with it."""
    count = len(resolutions) + 1
    pairwise: list[list[Agreement | None]] = [[None] * count for _ in range(count)]
    for number, resolution in enumerate(resolutions, 1):
        pairwise[0][number] = pairwise[number][0] = Agreement(resolution, False)
    alike = None if sorted_alike is None else Sorted(sorted_alike, sorted_alike)
    return Evidence(
        starts=list(range(1, count + 1)),
        best=0,
        pairwise=pairwise,
        log_likelihoods=[1.0] * count,
        posed_alike=[None, *[1.0] * (count - 1)],
        sorted_alike=[None, *[alike] * (count - 1)],
        own_mirror=own_mirror,
        contrast=contrast,
        final_resolution=15.0,
    )


@pytest.mark.parametrize(
    "found,word",
    [
        (evidence([16.0, 17.0]), "solved"),
        (evidence([16.0, 50.0]), "solved"),
        (evidence([16.0, 50.0, 50.0, 50.0, math.inf]), "ambiguous"),
        (evidence([40.0, 50.0]), "failed"),
        (evidence([]), "ambiguous"),
        (evidence([16.0, 17.0], own_mirror=17.0), "ambiguous"),
        (evidence([16.0, 17.0], contrast=-20.0), "failed"),
        (evidence([16.0, 17.0], contrast=1.0), "failed"),
        (evidence([16.0], sorted_alike=0.97), "solved"),
        (evidence([16.0], sorted_alike=0.9), "ambiguous"),
    ],
)
def test_which_evidence_leads_to_which_word(found: Evidence, word: str) -> None:
    verdict = judge(found)
    assert verdict.word == word
    assert verdict.sentence.endswith(".")
    assert verdict.record()["verdict"] == word


@given(st.lists(st.floats(1, 1000), max_size=6), st.floats(1, 1000), st.floats(-100, 100))
def test_solved_needs_agreement_a_hand_and_white_particles(
    resolutions: list[float], own_mirror: float, contrast: float
) -> None:
    found = evidence(resolutions, own_mirror, contrast)
    if judge(found).word == "solved":
        assert min(resolutions) <= 22.5
        assert own_mirror > min(resolutions)
        assert contrast > 0


def density(points: torch.Tensor) -> torch.Tensor:
    weights = np.linspace(1.0, 3.0, len(points))
    return gaussian_sum(points.double().numpy(), weights, WIDTH, BOX, PIXEL)


def test_a_turned_and_mirrored_density_agrees_and_another_does_not() -> None:
    mask = soft_sphere(BOX, 16.0, 3.0)
    turn = torch.from_numpy(Rotation.random(random_state=1).as_matrix()).float()
    mirror = torch.diag(torch.tensor([1.0, 1.0, -1.0]))
    fixed = density(HELIX)
    same = agreement(density(HELIX @ mirror @ turn.T + 4.0), fixed, mask, PIXEL)
    assert same.resolution < 15
    assert same.mirrored
    generator = torch.Generator().manual_seed(3)
    points = 90 * torch.rand(len(HELIX), 3, generator=generator) - 45
    assert agreement(density(points), fixed, mask, PIXEL).resolution > 25


def test_only_a_flat_density_is_its_own_mirror_image() -> None:
    mask = soft_sphere(BOX, 16.0, 3.0)
    flat = HELIX * torch.tensor([1.0, 1.0, 0.0])
    assert agreement_with_mirror(density(flat), mask, PIXEL) < 11  # Nyquist is 10
    assert agreement_with_mirror(density(HELIX), mask, PIXEL) > 16


def test_class_similarity_goes_from_the_posterior_to_equal_shares() -> None:
    by_map = torch.tensor([[0.9, 0.1, 0.0], [0.2, 0.3, 0.5]])
    assert torch.equal(shares(by_map, 0.0), by_map)
    torch.testing.assert_close(shares(by_map, 1.0), torch.full((2, 3), 1 / 3))
    torch.testing.assert_close(shares(by_map, 0.3).sum(dim=1), torch.ones(2))


def rotations(count: int, seed: int) -> torch.Tensor:
    return torch.from_numpy(Rotation.random(count, random_state=seed).as_matrix())


@pytest.mark.parametrize("hand", [False, True])
def test_poses_of_a_turned_and_mirrored_map_are_the_same_poses(hand: bool) -> None:
    # Projections of points decide: a pose and its like show the same image, or its mirror image
    # along the line of sight, which a projection does not tell.
    poses, turn = rotations(20, 1), rotations(1, 2)[0]
    flip = torch.diag(torch.tensor([1.0, 1.0, -1.0 if hand else 1.0], dtype=torch.float64))
    points = HELIX.double()
    other = points @ flip @ turn.T  # the map that the first, mirrored, is laid on by the turn
    others = flip @ poses @ flip @ turn.T
    seen = (points @ poses.transpose(1, 2))[..., :2]
    again = (other @ others.transpose(1, 2))[..., :2]
    torch.testing.assert_close(seen, again)
    laid = Agreement(10.0, hand, turn.numpy())
    assert pose_differences(poses, others, laid, point_group("C1")).max() < 1e-3
    tilted = torch.from_numpy(Rotation.from_euler("y", 9, degrees=True).as_matrix()) @ others
    nine = pose_differences(poses, tilted, laid, point_group("C1"))
    torch.testing.assert_close(nine, torch.full_like(nine, 9.0), atol=1e-3, rtol=0)


def test_poses_related_by_the_point_group_are_the_same() -> None:
    poses, group = rotations(10, 3), point_group("O")
    same = Agreement(10.0, False, np.eye(3))
    assert pose_differences(poses, poses @ group[7], same, group).max() < 1e-3
    assert pose_differences(poses, poses @ group[7], same, group[:1]).max() > 80


def test_sortings_agree_whatever_the_names_of_the_classes() -> None:
    rng = np.random.default_rng(0)
    first = rng.integers(0, 3, 3000)
    renamed = np.array([2, 0, 1])[first]
    names, share = matched(contingency(first, renamed, 3))
    assert names.tolist() == [2, 0, 1] and share == 1
    assert adjusted_rand_index(contingency(first, renamed, 3)) == 1
    unrelated = contingency(first, rng.integers(0, 3, 3000), 3)
    assert abs(adjusted_rand_index(unrelated)) < 0.01
    assert matched(unrelated)[1] < 0.4


def test_the_adjusted_rand_index_of_a_worked_example() -> None:
    # Pairs counted by hand: 2 together in both, 4 and 6 in either, of 15: (2-1.6)/(5-1.6).
    first, second = np.array([0, 0, 0, 1, 1, 2]), np.array([0, 0, 1, 1, 1, 1])
    assert adjusted_rand_index(contingency(first, second, 3)) == pytest.approx(
        (2 - 4 * 7 / 15) / ((4 + 7) / 2 - 4 * 7 / 15)
    )
