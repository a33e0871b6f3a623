"""Places of particles: the highest scores, apart from each other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from scipy.ndimage import maximum_filter

from vitreous.preprocessing.picking.matching import Matches


@dataclass(frozen=True)
class Peaks:
    """Places, the highest scores first.

    Attributes
    ----------
    places : array (peaks, 2)
        x, y in pixels of the prepared micrograph.
    scores : array (peaks,)
    references : int array (peaks,)
        Of what was looked for, the one that suits best.
    """

    places: Float[np.ndarray, "n 2"]
    scores: Float[np.ndarray, " n"]
    references: Int[np.ndarray, " n"]

    def __len__(self) -> int:
        """Return their number."""
        return len(self.scores)

    def take(self, rows: Int[np.ndarray, " m"] | Bool[np.ndarray, " n"]) -> Peaks:
        """Some of them."""
        return Peaks(self.places[rows], self.scores[rows], self.references[rows])

    def values(self, of: Shaped[np.ndarray, "h w"]) -> Shaped[np.ndarray, " n"]:
        """What an image holds at the pixels that are nearest to them."""
        x, y = np.clip(np.round(self.places).astype(int), 0, np.array(of.shape[::-1]) - 1).T
        return np.asarray(of[y, x])


def first_near(found: Peaks, shape: tuple[int, ...], reach: float) -> Float[np.ndarray, "h w"]:
    """The best peak within reach of every pixel, by its place among all; infinity without one."""
    first = np.full(shape, np.inf)
    height, width = shape
    radius = int(np.ceil(reach))
    for number in range(len(found) - 1, -1, -1):  # the best comes last, over the others
        x, y = np.round(found.places[number]).astype(int)
        rows = np.arange(max(0, y - radius), min(height, y + radius + 1))
        columns = np.arange(max(0, x - radius), min(width, x + radius + 1))
        near = np.hypot(rows[:, None] - y, columns - x) <= reach
        first[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1][near] = number
    return first


def peaks(matches: Matches, allowed: Bool[np.ndarray, "h w"], distance: float) -> Peaks:
    """Find the highest scores within a distance in pixels, where allowed, if they are above 0."""
    reach = max(1, int(distance))
    axis = np.arange(-reach, reach + 1)
    score = np.where(allowed, matches.score, 0.0)
    near = np.hypot(axis[:, None], axis) <= distance
    rows, columns = np.nonzero((maximum_filter(score, footprint=near) == score) & (score > 0))
    order = np.argsort(-score[rows, columns], kind="stable")
    rows, columns = rows[order], columns[order]
    offsets = [_vertex(matches.score, rows, columns, step) for step in ((0, 1), (1, 0))]
    places = np.stack([columns, rows], axis=1) + np.stack(offsets, axis=1)
    return Peaks(places, score[rows, columns], matches.reference[rows, columns])


def _vertex(
    score: Float[np.ndarray, "h w"],
    rows: Int[np.ndarray, " n"],
    columns: Int[np.ndarray, " n"],
    step: tuple[int, int],
) -> Float[np.ndarray, " n"]:
    """Where a parabola through each peak and its neighbours along an axis is highest."""
    height, width = score.shape
    before, after = (
        score[
            np.clip(rows + sign * step[0], 0, height - 1),
            np.clip(columns + sign * step[1], 0, width - 1),
        ]
        for sign in (-1, 1)
    )
    bend = before + after - 2 * score[rows, columns]
    return np.clip((before - after) / np.where(bend < 0, 2 * bend, -np.inf), -0.5, 0.5)
