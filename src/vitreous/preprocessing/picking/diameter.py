"""The particles' diameter, from the size of blobs that stand out most on micrographs.

Blobs of one size at a time are picked, and the area is counted that they cover together.  Smaller
ones than the particles cover less of each, though they may find it twice; larger ones take several
particles for one, or none.
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
"""A particle's longest diameter over that of the blobs that cover most."""

_RATE = 0.1
"""Share of the picks that may be false."""

_LEAST = 5
"""Picks a micrograph of a size that may be the particles': fewer are contaminants."""


@dataclass(frozen=True)
class Trial:
    """Blobs of one size.

    Attributes
    ----------
    size : float
        Diameter, angstrom.
    picks : int
    """

    size: float
    picks: int

    @property
    def area(self) -> float:
        """That they cover, in squares of their diameter."""
        return self.picks * self.size**2


def sizes() -> list[float]:
    """Diameters of the blobs that are tried, angstrom."""
    return [SMALLEST * STEP**number for number in range(SIZES)]


def tried(
    micrographs: Sequence[Float[np.ndarray, "a b"]], pixel_sizes: Sequence[float], size: float
) -> Trial:
    """Pick blobs of one size, dark or light, whichever are more.

    Parameters
    ----------
    micrographs : sequence of arrays (y, x)
    pixel_sizes : sequence of float
        Of each, angstrom.
    size : float
        Diameter, angstrom.
    """
    sought = Sought(size, size, size, 0.6 * size, 0.5 * size, None)
    found = [search(m, p, sought) for m, p in zip(micrographs, pixel_sizes, strict=True)]
    sides = ([one.dark for one in found], [one.light for one in found])
    return Trial(size, max(_picks(side) for side in sides))


def _picks(found: Sequence[Candidates | None]) -> int:
    rates = false_discovery_rates([one.evidence for one in found if one is not None])
    return sum(int((rate <= _RATE).sum()) for rate in rates)


def blob_size(trials: Sequence[Trial], micrographs: int) -> float | None:
    """Size of blobs that cover most: the top of a parabola over the logarithm of the size.

    Parameters
    ----------
    trials : sequence of Trial
        Of sizes in a geometric series.
    micrographs : int
        That were searched.

    Returns
    -------
    size : float or None
        Angstrom; None where there are next to no picks of any size.
    """
    areas = [t.area if t.picks >= _LEAST * micrographs else 0.0 for t in trials]
    best = max(range(len(trials)), key=areas.__getitem__)
    if not areas[best]:
        return None
    if not 0 < best < len(trials) - 1:
        return trials[best].size
    before, top, after = areas[best - 1 : best + 2]
    bend = before - 2 * top + after
    shift = 0.5 * (before - after) / bend if bend < 0 else 0.0
    return trials[best].size * math.exp(shift * math.log(STEP))
