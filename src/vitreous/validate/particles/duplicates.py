"""Particles that are in a table twice, and picks too near each other: found, and removed."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int
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


def _tree(
    positions: Float[np.ndarray, "n 2"], group: Int[np.ndarray, " n"], reach: float
) -> cKDTree:
    """Points for looking up; groups lie farther apart along a third axis than any two points."""
    extent = float(np.ptp(positions, axis=0).max()) + reach + 1
    return cKDTree(np.column_stack([positions, group * (4 * extent)]))


def nearest(
    positions: Float[np.ndarray, "n 2"], group: Int[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """Distance to the nearest other point of the same group, and which one that is.

    Infinity, and the point itself, for a point alone in its group.
    """
    if len(positions) < 2:
        return np.full(len(positions), np.inf), np.arange(len(positions))
    tree = _tree(positions, group, 0.0)
    distances, neighbours = (np.asarray(found) for found in tree.query(tree.data, k=2))
    row = np.arange(len(positions))
    # Of points in one place either may come first.
    column = np.where(neighbours[:, 0] == row, 1, 0)
    distance, other = distances[row, column], neighbours[row, column]
    alone = group[other] != group
    return np.where(alone, np.inf, distance), np.where(alone, row, other)


def redundant(
    positions: Float[np.ndarray, "n 2"],
    group: Int[np.ndarray, " n"],
    distance: float,
    merit: Float[np.ndarray, " n"],
) -> Bool[np.ndarray, " n"]:
    """Which points lie within ``distance`` of a better point of their group that is kept.

    Points are taken from the best on, of equal ones the first in the table first; each that is
    still there removes its neighbours.

    Parameters
    ----------
    positions : array (n, 2)
    group : int array (n,)
        Micrographs.
    distance : float
        In the units of ``positions``.
    merit : array (n,)
    """
    removed = np.zeros(len(positions), dtype=bool)
    if len(positions) < 2:
        return removed
    pairs = _tree(positions, group, distance).query_pairs(distance, output_type="ndarray")
    rank = np.empty(len(positions), dtype=np.int64)
    rank[np.argsort(-merit, kind="stable")] = np.arange(len(positions))
    ranked = np.sort(rank[pairs], axis=1)
    by_rank = np.argsort(rank)
    for better, worse in by_rank[ranked[np.lexsort(ranked.T[::-1])]].tolist():
        if not removed[better]:
            removed[worse] = True
    return removed
