"""The verdict: how maps are compared, and which evidence leads to which word."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from vitreous.jobs.verdict import Evidence, judge
from vitreous.math.gaussians import gaussian_sum
from vitreous.physics.masks import soft_sphere
from vitreous.search.expectation import shares
from vitreous.validate.reproducibility import Agreement, agreement, agreement_with_mirror

BOX, PIXEL, WIDTH = 40, 5.0, 7.0
TURN = torch.linspace(0, 9, 14)
HELIX = torch.stack([30 * TURN.cos(), 30 * TURN.sin(), 11 * (TURN - 4.5)], dim=1)


def evidence(
    resolutions: list[float], own_mirror: float = 60.0, contrast: float = 50.0
) -> Evidence:
    partners = [Agreement(r, False) for r in resolutions]
    return Evidence([None, *partners], [1.0] * (len(partners) + 1), own_mirror, contrast, 15.0)


@pytest.mark.parametrize(
    "found,word",
    [
        (evidence([16.0, 17.0]), "solved"),
        (evidence([16.0, 50.0]), "solved"),
        (evidence([16.0, 50.0, 50.0, 50.0, math.inf]), "ambiguous"),
        (evidence([40.0, 50.0]), "failed"),
        (evidence([]), "ambiguous"),
        (evidence([16.0, 17.0], own_mirror=18.0), "ambiguous"),
        (evidence([16.0, 17.0], contrast=-20.0), "failed"),
        (evidence([16.0, 17.0], contrast=1.0), "failed"),
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
