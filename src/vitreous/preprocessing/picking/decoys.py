"""The threshold of a score, from decoys: what the same search finds where no particle can be.

Peaks of the micrograph with its contrast inverted are as many, and as high, as those of noise.
The share of false picks above a threshold is the number of decoys above it over that of picks:
Elias & Gygi, Nature Methods 4, 207 (2007), of peptides.  Round a particle, though, the CTF draws a
rim of the other contrast, which scores as no noise does, and rims of several particles add up:
decoys do not count where the picks beside them outscore them together, nor does the area there.
Noise scores alike on all micrographs, so the density of decoys is that of all of them; the picks
are each micrograph's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from vitreous.preprocessing.picking.peaks import Peaks

_LEAST_LEFT = 0.25
"""Share of the area that decoys are taken to come from, at least: the few that are found between
crowded particles are rims, and say nothing of all the rest."""

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
        Share of the area where the picks within reach score less together than each.
    decoys : array (decoys,)
        Scores of those that picks within reach do not outscore, the lowest first.
    area : float
        That was searched, square angstrom.
    """

    scores: Float[np.ndarray, " n"]
    left: Float[np.ndarray, " n"]
    decoys: Float[np.ndarray, " m"]
    area: float


def _scores_near(
    picks: Peaks, allowed: Bool[np.ndarray, "h w"], reach: float
) -> Float[np.ndarray, "h w"]:
    """Sum of the scores of all picks within reach of every pixel."""
    total, radius = np.zeros(allowed.shape), int(np.ceil(reach))
    height, width = allowed.shape
    for (x, y), score in zip(np.round(picks.places).astype(int), picks.scores, strict=True):
        rows = np.arange(max(0, y - radius), min(height, y + radius + 1))
        columns = np.arange(max(0, x - radius), min(width, x + radius + 1))
        near = np.hypot(rows[:, None] - y, columns - x) <= reach
        total[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] += score * near
    return total


def evidence(
    picks: Peaks, decoys: Peaks, allowed: Bool[np.ndarray, "h w"], reach: float, pixel: float
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
    pixel : float
        Angstrom.
    """
    near = _scores_near(picks, allowed, reach)
    inside = np.sort(near[allowed])
    left = np.searchsorted(inside, picks.scores) / max(len(inside), 1)
    places = np.round(decoys.places).astype(int)
    x, y = np.clip(places, 0, np.array(near.shape[::-1]) - 1).T
    apart = np.sort(decoys.scores[near[y, x] <= decoys.scores])
    area = float(allowed.sum()) * pixel**2
    return Evidence(picks.scores, np.maximum(left, _LEAST_LEFT), apart, area)


def _left_at(found: Evidence, thresholds: Float[np.ndarray, " t"]) -> Float[np.ndarray, " t"]:
    above = np.searchsorted(-found.scores, -thresholds, side="right")
    highest = found.left[:1] if len(found.left) else [1.0]
    return np.concatenate([highest, found.left])[above]


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
        expected = np.interp(one.scores, thresholds, density) * one.area
        share = np.minimum(expected / np.arange(1, len(one.scores) + 1), 1)
        rates.append(np.minimum.accumulate(share[::-1])[::-1])
    return rates
