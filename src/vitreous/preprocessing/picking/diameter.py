"""The particles' diameter, from the size of blobs that stand out most on micrographs.

Blobs of one size at a time are picked, and the area is counted that they cover together.  Smaller
ones than the particles cover less of each, though they may find it twice; larger ones take several
particles for one, or none.  Balls are tried beside blobs, for particles that touch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from vitreous.preprocessing.picking.decoys import false_discovery_rates
from vitreous.preprocessing.picking.pick import Candidates, Sought, search

SMALLEST, STEP, SIZES = 45.0, 1.3, 9
"""Diameters of blobs that are tried: the smallest, angstrom, their ratio, and how many."""

LONGEST = 1.2
"""A particle's longest diameter over that of the blobs that cover most; balls have it itself."""

_MORE = 2.0
"""Area of balls over that of blobs from which balls tell the size."""

_RATE = 0.1
"""Share of the picks that may be false."""

_LEAST = 5
"""Picks a micrograph of a size that may be the particles': fewer are contaminants."""


@dataclass(frozen=True)
class Trial:
    """Blobs and balls of one size.

    Attributes
    ----------
    size : float
        Diameter, angstrom.
    blobs, balls : int
        How many were picked.
    """

    size: float
    blobs: int
    balls: int = 0


@dataclass(frozen=True)
class Found:
    """What stands out.

    Attributes
    ----------
    shape : str
        blob or ball.
    size : float
        Diameter of these, angstrom.
    picks : int
        How many of about that size there are.
    diameter : float
        Of the particles, angstrom.
    """

    shape: str
    size: float
    picks: int
    diameter: float


def sizes() -> list[float]:
    """Diameters of the blobs that are tried, angstrom."""
    return [SMALLEST * STEP**number for number in range(SIZES)]


def tried(
    micrographs: Sequence[Float[np.ndarray, "a b"]], pixel_sizes: Sequence[float], size: float
) -> Trial:
    """Pick blobs of one size, dark or light, whichever are more, and balls.

    Parameters
    ----------
    micrographs : sequence of arrays (y, x)
    pixel_sizes : sequence of float
        Of each, angstrom.
    size : float
        Diameter, angstrom.
    """
    sought = Sought(size, size, size, 0.6 * size, 0.5 * size, None, balls=True)
    found = [search(m, p, sought) for m, p in zip(micrographs, pixel_sizes, strict=True)]
    sides = ([one.dark for one in found], [one.light for one in found])
    return Trial(size, max(map(_picks, sides)), _picks([one.balls for one in found]))


def _picks(found: Sequence[Candidates | None]) -> int:
    rates = false_discovery_rates([one.evidence for one in found if one is not None])
    return sum(int((rate <= _RATE).sum()) for rate in rates)


def _covering(sizes: Sequence[float], picks: Sequence[int], least: int) -> tuple[float, float]:
    """Size that covers most, by a parabola over its logarithm, and the area that it covers."""
    areas = [n * size**2 if n >= least else 0.0 for n, size in zip(picks, sizes, strict=True)]
    best = max(range(len(sizes)), key=areas.__getitem__)
    if not 0 < best < len(sizes) - 1:
        return sizes[best], areas[best]
    before, top, after = areas[best - 1 : best + 2]
    bend = before - 2 * top + after
    shift = 0.5 * (before - after) / bend if bend < 0 else 0.0
    return sizes[best] * math.exp(shift * math.log(STEP)), top


def standing_out(trials: Sequence[Trial], micrographs: int) -> Found | None:
    """Size of the blobs, or balls, that cover most.

    Parameters
    ----------
    trials : sequence of Trial
        Of sizes in a geometric series.
    micrographs : int
        That were searched.

    Returns
    -------
    found : Found or None
        None where there are next to no picks of any size.
    """
    tried_sizes, least = [trial.size for trial in trials], _LEAST * micrographs
    blob, of_blobs = _covering(tried_sizes, [trial.blobs for trial in trials], least)
    ball, of_balls = _covering(tried_sizes, [trial.balls for trial in trials], least)
    if not max(of_blobs, of_balls):
        return None
    by_balls = of_balls > _MORE * of_blobs
    size = ball if by_balls else blob
    near = min(trials, key=lambda trial: abs(trial.size - size))
    if by_balls:
        return Found("ball", size, near.balls, size)
    return Found("blob", size, near.blobs, LONGEST * size)
