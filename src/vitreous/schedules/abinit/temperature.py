"""Temperature of a search: the factor on the noise variance, found from the particles.

While a map has no shape yet, all poses explain an image alike; the mean over them is a ball, which
explains all poses alike: a search of faint particles that begins so ends so.  Below 1 the factor
makes particles choose, and the map takes a shape.  It rises to 1 as the particles become certain by
themselves, and is 1 in the final iterations: what was chosen wrongly does not last there.

A particle with symmetry is never certain, as poses that the symmetry makes equal share its
posterior: steered starts then fit noise.  So every third start of a single map is searched at 1
throughout, and the held-out particles tell which kind suits; under T, O or I all starts are.
"""

from __future__ import annotations

FIRST = 0.3
"""The factor of the first mini-batch."""

_LOWEST = 0.2
"""The least, which faint or empty images come to."""

_CERTAINTY = 0.2
"""Mean posterior of the best poses that the factor is steered to."""

_GAIN = 0.5
"""Power of the ratio of certainties that the factor is moved by after a mini-batch."""

_INFLATION = 8.0
"""Factor at the start where a half-life is set (RELION's value)."""


def is_steered(start: int, maps: int, *, polyhedral: bool) -> bool:
    """Whether the temperature of a start, numbered from 0, is steered."""
    return not polyhedral and (maps > 1 or start % 3 != 2)


def steered(temperature: float, certainty: float) -> float:
    """Temperature of the next mini-batch, after one whose best poses held ``certainty``."""
    moved: float = temperature * (max(certainty, 1e-6) / _CERTAINTY) ** _GAIN
    return min(max(moved, _LOWEST), 1.0)


def inflated(halflife: float, seen: int) -> float:
    """Temperature after ``seen`` particles where its half-life is given."""
    return float(1 + (_INFLATION - 1) * 2 ** (-seen / halflife))
