"""Particles divided into two halves that share nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int


def random_halves(count: int, seed: int) -> Int[np.ndarray, " n"]:
    """1 or 2 for each particle, at random, as many of either."""
    return np.random.default_rng(seed).permutation(np.arange(count) % 2) + 1


def halves_by_group(groups: Sequence[str], seed: int) -> Int[np.ndarray, " n"]:
    """1 or 2 for each particle, all of a group (a micrograph) in one half.

    The largest groups come first, each into the half that holds less, so that the halves differ by
    little; groups of one size come in random order.  Overlapping neighbours, whose images share
    pixels and thus noise, then never lie in different halves.
    """
    _, member, sizes = np.unique(np.asarray(groups), return_inverse=True, return_counts=True)
    order = np.lexsort((np.random.default_rng(seed).random(len(sizes)), -sizes))
    half, held = np.empty(len(sizes), dtype=np.int64), [0, 0]
    for group in order:
        less = int(held[1] < held[0])
        half[group] = less + 1
        held[less] += int(sizes[group])
    return half[member]
