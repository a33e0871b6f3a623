"""The threshold of a score, from decoys: what the same search finds where no particle can be.

Peaks of the micrograph with its contrast inverted are as many, and as high, as those of noise.
The share of false picks above a threshold is the number of decoys above it over that of picks:
Elias & Gygi, Nature Methods 4, 207 (2007), of peptides.  Round a particle, though, the CTF draws a
rim of the other contrast, which scores as no noise does: decoys beside a pick that outscores them
do not count, nor does the area there.  Noise scores alike on all micrographs, so the density of
decoys is that of all of them; the picks are each micrograph's own, and false ones find room only
beside the better ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from vitreous.preprocessing.picking.peaks import Peaks, first_near

_LEAST_LEFT = 0.05
"""Share of the area that is left to decoys, at least."""

_THRESHOLDS = 256
"""Scores at which the density of decoys is counted."""


@dataclass(frozen=True)
class Evidence:
    """Picks and decoys of one micrograph.

    Attributes
    ----------
    scores : array (picks,)
        The highest first.
    left : array (picks,)
        Share of the area beyond the reach of picks that score as high as each or higher.
    free : array (picks,)
        Share of the area that better picks leave to each: they are some distance apart.
    decoys : array (decoys,)
        Scores of those that have no better pick within reach, the lowest first.
    area : float
        That was searched, square angstrom.
    """

    scores: Float[np.ndarray, " n"]
    left: Float[np.ndarray, " n"]
    free: Float[np.ndarray, " n"]
    decoys: Float[np.ndarray, " m"]
    area: float


def _beyond(
    first: Float[np.ndarray, "h w"], allowed: Bool[np.ndarray, "h w"], count: int
) -> Float[np.ndarray, " n"]:
    """Share of the area beyond the reach of each pick and of all before it."""
    covered = np.bincount(first[allowed & np.isfinite(first)].astype(int), minlength=count)
    return (allowed.sum() - np.cumsum(covered)) / max(allowed.sum(), 1)


def evidence(
    picks: Peaks,
    decoys: Peaks,
    allowed: Bool[np.ndarray, "h w"],
    reach: float,
    distance: float,
    pixel: float,
    particles: Peaks | None = None,
) -> Evidence:
    """Decoys of a micrograph that count, and the area that they may lie in.

    Parameters
    ----------
    picks, decoys : Peaks
        The highest scores first.
    allowed : bool array (y, x)
        Where they were looked for.
    reach : float
        Pixels from a particle's centre to beyond its rim.
    distance : float
        Pixels that picks are apart, at least.
    pixel : float
        Angstrom.
    particles : Peaks, optional
        Those of the picks that have rims, if it is known; else all of them.
    """
    particles = picks if particles is None else particles
    first = first_near(particles, allowed.shape, reach)
    best = np.minimum(decoys.values(first), len(particles)).astype(int)
    better = np.append(particles.scores, -np.inf)[best]
    above = np.searchsorted(-particles.scores, -picks.scores, side="right")
    left = np.append(1.0, _beyond(first, allowed, len(particles)))[above]
    apart = first_near(picks, allowed.shape, distance)
    return Evidence(
        picks.scores,
        np.maximum(left, _LEAST_LEFT),
        np.append(1.0, _beyond(apart, allowed, len(picks)))[: len(picks)],
        np.sort(decoys.scores[better <= decoys.scores]),
        float(allowed.sum()) * pixel**2,
    )


def _left_at(found: Evidence, thresholds: Float[np.ndarray, " t"]) -> Float[np.ndarray, " t"]:
    above = np.searchsorted(-found.scores, -thresholds, side="right")
    return np.concatenate([[1.0], found.left])[above]


def _density(
    found: Sequence[Evidence], thresholds: Float[np.ndarray, " t"]
) -> Float[np.ndarray, " t"]:
    """Decoys above thresholds for each square angstrom, and one more in all of the area."""
    above, left = np.zeros(len(thresholds)), np.zeros(len(thresholds))
    for one in found:
        above += len(one.decoys) - np.searchsorted(one.decoys, thresholds, side="left")
        left += one.area * _left_at(one, thresholds)
    area = sum(one.area for one in found)
    return above / np.maximum(left, 1.0) + 1 / max(area, 1.0)


def false_discovery_rates(found: Sequence[Evidence]) -> list[Float[np.ndarray, " n"]]:
    """Share of false ones among picks that score as high or higher on the same micrograph.

    Like a P-value it does not rise with the score: a pick's is the least at which it is taken.
    """
    every = np.concatenate([one.scores for one in found])
    if not len(every):
        return [np.zeros(0) for _ in found]
    thresholds = np.unique(np.quantile(every, np.linspace(0, 1, _THRESHOLDS)))
    density = _density(found, thresholds)
    rates = []
    for one in found:
        expected = np.interp(one.scores, thresholds, density) * one.area * one.free
        share = np.minimum(expected / np.arange(1, len(one.scores) + 1), 1)
        rates.append(np.minimum.accumulate(share[::-1])[::-1])
    return rates
