"""Refinement of what is hard: disordered parts, poses off any lattice, scales, mobile domains."""

from __future__ import annotations

import torch
from torch import Tensor

from vitreous.math.fourier import (
    from_half_fourier,
    half_frequency_radius,
    per_coefficient,
    to_half_fourier,
)
from vitreous.physics.masks import cosine_edge
from vitreous.reconstruct.nonuniform import cross_validated

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
