"""How far two sortings of the same particles agree."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int
from scipy.optimize import linear_sum_assignment


def contingency(
    first: Int[np.ndarray, " n"], second: Int[np.ndarray, " n"], classes: int
) -> Int[np.ndarray, "k k"]:
    """How many particles have each pair of labels (from 0)."""
    table = np.zeros((classes, classes), int)
    np.add.at(table, (first, second), 1)
    return table


def matched(table: Int[np.ndarray, "k k"]) -> tuple[Int[np.ndarray, " k"], float]:
    """Class of the second sorting that each of the first matches, and the share that then agrees.

    The matching shares most particles (Kuhn, Nav. Res. Logist. Q. 2, 83 (1955)).
    """
    rows, columns = linear_sum_assignment(table, maximize=True)
    return columns, float(table[rows, columns].sum() / max(table.sum(), 1))


def adjusted_rand_index(table: Int[np.ndarray, "k k"]) -> float:
    """Agreement of two sortings beyond chance: 1 for the same, about 0 for unrelated ones.

    Hubert & Arabie, J. Classif. 2, 193 (1985), equation 5.
    """

    def pairs(counts: Int[np.ndarray, "*k"]) -> float:
        return float((counts * (counts - 1) / 2).sum())

    both, first, second = pairs(table), pairs(table.sum(axis=1)), pairs(table.sum(axis=0))
    every = pairs(table.sum(keepdims=True))
    chance = first * second / max(every, 1.0)
    most = (first + second) / 2
    return 1.0 if most == chance else (both - chance) / (most - chance)
