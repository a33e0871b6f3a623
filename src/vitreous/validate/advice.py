"""What anisotropy and uneven views mean, and what to do about them, in plain sentences."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from vitreous.validate.anisotropy import ConicalFsc
from vitreous.validate.sampling import Sampling

LEAST_AREA_RATIO = 0.5
"""cFAR below which a map is called anisotropic."""

LEAST_SCORE = 0.81
"""Score of side views only, below which views are called uneven."""

_PREFERRED = 0.6
"""Mean squared cosine to an axis from which on views are said to lie along it."""

_CLOSE = math.cos(math.radians(15))
"""Cosine of the angle within which a direction is given the name of an axis."""


@dataclass(frozen=True)
class Views:
    """How the particles' views are spread.

    Attributes
    ----------
    sampling : Sampling
        As they are.
    tilted : dict
        As they would be on a grid tilted by so many degrees.
    axis : array (3,)
        That they lie nearest to.
    concentration : float
        Mean squared cosine to it.
    """

    sampling: Sampling
    tilted: Mapping[float, Sampling]
    axis: Float[np.ndarray, " 3"]
    concentration: float


def axis_in_words(axis: Float[np.ndarray, " 3"]) -> str:
    """Name an axis: x, y or z where it is close to one, else by rot and tilt."""
    nearest = int(np.abs(axis).argmax())
    if abs(axis[nearest]) >= _CLOSE:
        return "xyz"[nearest]
    x, y, z = axis if axis[2] >= 0 else -axis
    rot, tilt = math.degrees(math.atan2(y, x)), math.degrees(math.acos(min(z, 1.0)))
    return f"the axis at rot {rot:.0f}, tilt {tilt:.0f} degrees"


def _of_map(cones: ConicalFsc) -> str:
    ratio, limits = cones.area_ratio, np.maximum(cones.limits, 1e-6)
    worst, best = cones.areas.argmin(), cones.areas.argmax()
    if ratio >= LEAST_AREA_RATIO:
        return (
            f"cFAR is {ratio:.2f}: detail reaches {1 / limits[best]:.1f} to "
            f"{1 / limits[worst]:.1f} A, depending on the direction, which is even enough."
        )
    return (
        f"cFAR is {ratio:.2f}, below {LEAST_AREA_RATIO:g}: detail reaches {1 / limits[best]:.1f} A "
        f"along {axis_in_words(cones.axes[best])}, but only {1 / limits[worst]:.1f} A along "
        f"{axis_in_words(cones.axes[worst])}, which density is smeared along."
    )


def _of_views(views: Views) -> list[str]:
    found = views.sampling
    said = f"The score of the views is {found.score:.2f} (even views 1, side views only 0.81)"
    if found.score >= LEAST_SCORE:
        return [f"{said}: they cover Fourier space well."]
    sentences = [
        f"{said}: the fewest slices of Fourier space lie along {axis_in_words(found.emptiest)}, "
        f"and {found.empty:.0%} of all directions have none."
    ]
    if views.concentration > _PREFERRED:
        sentences.append(
            f"Most particles are seen along {axis_in_words(views.axis)}; views at right angles to "
            "it are missing."
        )
    return [*sentences, _of_tilts(views)]


def _of_tilts(views: Views) -> str:
    """Least tilt that makes the views even, or what the best one would do."""
    other = "other detergents, support films or ice thickness may free more views"
    enough = [a for a, s in sorted(views.tilted.items()) if s.score >= LEAST_SCORE]
    angle = enough[0] if enough else max(views.tilted, key=lambda a: views.tilted[a].score)
    tilted = views.tilted[angle]
    if tilted.score <= views.sampling.score:
        return f"Tilting the grid would not help; {other}."
    collect = f"Collect with the grid tilted by {angle:g} degrees"
    gain = f"would bring the score to {tilted.score:.2f} and empty directions to {tilted.empty:.0%}"
    if enough:
        return f"{collect}: that {gain}."
    return f"{collect}: that {gain}, which is still uneven; {other}."


def advice(cones: ConicalFsc, views: Views | None) -> list[str]:
    """Sentences on the map's anisotropy, the views, and what to do.

    Parameters
    ----------
    cones : ConicalFsc
    views : Views, optional
    """
    smeared = cones.area_ratio < LEAST_AREA_RATIO
    sentences = [_of_map(cones)]
    if views is None:
        if smeared:
            worst = axis_in_words(cones.axes[cones.areas.argmin()])
            sentences.append(
                f"Views at right angles to {worst} are likely missing: collect with the grid "
                "tilted, and give --particles to learn by how much."
            )
        return sentences
    sentences += _of_views(views)
    uneven = views.sampling.score < LEAST_SCORE
    if smeared and not uneven:
        sentences.append(
            "As the views are even, other things smear the map: particles that are junk or wrongly "
            "aligned, or a mask that cuts the molecule. Classify again before collecting more."
        )
    if uneven and not smeared:
        sentences.append(
            "The map does not suffer from the uneven views yet; it may where finer detail is asked "
            "of it, or if poses are wrong."
        )
    return sentences
