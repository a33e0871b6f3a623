"""Particles that are in a table twice, and picks too near each other."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial import cKDTree


def repeats(keys: Sequence[Hashable]) -> list[tuple[int, int]]:
    """Places whose key came before: (first place, this place), in order."""
    first: dict[Hashable, int] = {}
    pairs = []
    for place, key in enumerate(keys):
        before = first.setdefault(key, place)
        if before != place:
            pairs.append((before, place))
    return pairs


def nearest(
    positions: Float[np.ndarray, "n 2"], group: Int[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """Distance to the nearest other point of the same group, and which one that is.

    Infinity, and the point itself, for a point alone in its group.
    """
    if len(positions) < 2:
        return np.full(len(positions), np.inf), np.arange(len(positions))
    # Groups are laid so far apart along a third axis that none is near another.
    extent = float(np.ptp(positions, axis=0).max()) + 1
    tree = cKDTree(np.column_stack([positions, group * (4 * extent)]))
    distances, neighbours = (np.asarray(found) for found in tree.query(tree.data, k=2))
    row = np.arange(len(positions))
    # Of points in one place either may come first.
    column = np.where(neighbours[:, 0] == row, 1, 0)
    distance, other = distances[row, column], neighbours[row, column]
    alone = group[other] != group
    return np.where(alone, np.inf, distance), np.where(alone, row, other)
