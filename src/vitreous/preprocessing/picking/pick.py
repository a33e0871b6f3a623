"""What may be particles on a micrograph, with the decoys that it has beside them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from vitreous.preprocessing.picking.balls import match_balls
from vitreous.preprocessing.picking.blobs import blobs_between, match_blobs
from vitreous.preprocessing.picking.contamination import (
    clean_area,
    particle_scores,
    too_strong,
)
from vitreous.preprocessing.picking.decoys import (
    Evidence,
    evidence,
    false_discovery_rates,
)
from vitreous.preprocessing.picking.matching import Matches, match
from vitreous.preprocessing.picking.peaks import Peaks, peaks
from vitreous.preprocessing.picking.prepared import Prepared, prepare
from vitreous.preprocessing.picking.references import References

_SURE = 0.1
"""Rate of false ones among picks whose rims hold no decoys."""

_RIM = 0.9
"""Of a particle's diameter: from its centre to beyond its rim of the other contrast."""


@dataclass(frozen=True)
class Sought:
    """What is looked for; lengths in angstrom.

    Attributes
    ----------
    diameter : float
        Of the particles.
    least, most : float
        Diameters of blobs.
    distance : float
        That picks are apart, at least.
    border : float
        Along the micrograph's border, where none are picked.
    dark : bool or None
        Whether particles are dark on the micrograph; None to find out.
    balls : bool
        Look for balls, too: particles that touch each other are not found as blobs.
    """

    diameter: float
    least: float
    most: float
    distance: float
    border: float
    dark: bool | None
    balls: bool = False


@dataclass(frozen=True)
class Candidates:
    """What may be particles of a micrograph, the best first.

    Attributes
    ----------
    places : array (candidates, 2)
        x, y in pixels of the micrograph.
    references : int array (candidates,)
        What suits each best.
    evidence : Evidence
        Their scores, and those of decoys.
    """

    places: Float[np.ndarray, "n 2"]
    references: Int[np.ndarray, " n"]
    evidence: Evidence


@dataclass(frozen=True)
class Searched:
    """A micrograph that was searched for particles of either contrast.

    Attributes
    ----------
    dark, light : Candidates or None
        Darker or lighter than their surroundings, as far as that was asked for.
    balls : Candidates or None
        The same as balls, of the contrast that particles have; dark if that is not known.
    share : float
        Of the micrograph, where particles were looked for.
    """

    dark: Candidates | None
    light: Candidates | None
    balls: Candidates | None
    share: float


def _matches(prepared: Prepared, sought: Sought, references: References | None) -> Matches:
    if references is None:
        return match_blobs(prepared, blobs_between(sought.least, sought.most))
    return match(prepared.image, references.images, references.mask)


def search(
    micrograph: Float[np.ndarray, "a b"],
    pixel_size: float,
    sought: Sought,
    references: References | None = None,
) -> Searched:
    """Look for particles as blobs, or by references if there are any.

    Parameters
    ----------
    micrograph : array (y, x)
    pixel_size : float
        Angstrom.
    sought : Sought
    references : References, optional
        White, at the pixel size of :func:`~.prepared.prepared_pixel`.
    """
    prepared = prepare(micrograph, pixel_size, sought.diameter)
    pixel = prepared.pixel_size
    allowed = clean_area(prepared, sought.diameter / pixel, sought.border / pixel)

    def highest(matches: Matches) -> Peaks:
        return peaks(matches, allowed, sought.distance / pixel)

    def candidates(found: Peaks, decoys: Peaks) -> Candidates:
        clean = allowed & ~too_strong(found, decoys, allowed.shape, sought.diameter / pixel)
        found, decoys = (some.take(some.values(clean)) for some in (found, decoys))
        found = found.take(found.scores >= particle_scores(found)[0])
        reach, distance = _RIM * sought.diameter / pixel, sought.distance / pixel
        known = evidence(found, decoys, clean, reach, distance, pixel)
        # Noise among the picks would leave no room for decoys: only what may be particles does.
        (rates,) = false_discovery_rates([known])
        particles = found.take(rates <= _SURE)
        known = evidence(found, decoys, clean, reach, distance, pixel, particles)
        return Candidates(prepared.on_micrograph(found.places), found.references, known)

    both = (prepared, prepared.inverted())
    light, dark = (highest(_matches(one, sought, references)) for one in both)
    balls = None
    if sought.balls:
        there, not_there = both if sought.dark is False else both[::-1]
        balls = candidates(*(highest(match_balls(o, sought.diameter)) for o in (there, not_there)))
    return Searched(
        None if sought.dark is False else candidates(dark, light),
        None if sought.dark else candidates(light, dark),
        balls,
        float(allowed.mean()),
    )
