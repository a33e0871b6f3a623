"""Particles put into halves, and micrographs into groups."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int


@dataclass(frozen=True)
class Grouping:
    """Groups of micrographs.

    Attributes
    ----------
    group : int64 array (particles,)
        From 0.
    sizes : int64 array (groups,)
        Particles of each.
    """

    group: Int[np.ndarray, " n"]
    sizes: Int[np.ndarray, " g"]


def halves(unit: Int[np.ndarray, " n"], seed: int) -> Int[np.ndarray, " n"]:
    """Random half, 1 or 2, of each particle; those of one unit stay together.

    Units are dealt out in random order, each to the half that is smaller so far.

    Parameters
    ----------
    unit : int array (particles,)
        From 0: the image, so that no half sees the other's noise, or the micrograph.
    """
    sizes = np.bincount(unit)
    half = np.zeros(len(sizes), dtype=np.int64)
    lead = 0  # particles that the first half has more than the second
    for one in np.random.default_rng(seed).permutation(len(sizes)).tolist():
        second = lead > 0
        half[one] = 1 + second
        lead += -int(sizes[one]) if second else int(sizes[one])
    return half[unit]


def regrouped(
    micrograph: Int[np.ndarray, " n"],
    apart: Int[np.ndarray, " n"],
    likeness: Float[np.ndarray, " n"],
    least: int,
) -> Grouping:
    """Put micrographs that are alike into groups of at least ``least`` particles.

    Micrographs are ordered by their mean ``likeness`` and gathered until there are enough
    particles; what is left at the end joins the last group.

    Parameters
    ----------
    micrograph : int array (particles,)
        From 0.
    apart : int array (particles,)
        Optics groups, from 0: no group spans two; one that has fewer particles stays small.
    likeness : array (particles,)
        What micrographs of a group should have alike, such as the scale of their intensities.
    least : int
    """
    group = np.empty(len(micrograph), dtype=np.int64)
    first = 0
    for one in np.unique(apart):
        rows = np.flatnonzero(apart == one)
        _, local = np.unique(micrograph[rows], return_inverse=True)
        sizes = np.bincount(local)
        order = np.argsort(np.bincount(local, likeness[rows]) / sizes, kind="stable")
        gathered = np.empty(len(sizes), dtype=np.int64)
        gathered[order] = _gathered(sizes[order], least)
        group[rows] = first + gathered[local]
        first += int(gathered.max()) + 1
    return Grouping(group, np.bincount(group))


def _gathered(sizes: Int[np.ndarray, " m"], least: int) -> Int[np.ndarray, " m"]:
    """Number of the group, from 0, of micrographs of these sizes, in order."""
    group = np.zeros(len(sizes), dtype=np.int64)
    current = filled = 0
    for place, size in enumerate(sizes.tolist()):
        group[place] = current
        filled += size
        if filled >= least:
            current, filled = current + 1, 0
    # A last group that never filled up belongs to the one before it.
    return np.minimum(group, max(current - 1, 0))
