"""What is decided between the steps, from what they found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from vitreous.math.fourier import good_box

ACROSS, COARSEST, FINEST = 64, 5.0, 2.5
"""Pixels of a box for classes and first maps, and the limits of their pixel size, angstrom: classes
are compared to 10 A, and first maps end at 15 A."""

ROOM, MORE_ROOM = 1.6, 2.0
"""Box over the particle's diameter: for the particle and what the CTF spreads of it; more where the
diameter is a first guess."""

MASK: Final = 1.2
"""Mask over the particle's diameter."""

LEAST: Final = 100
"""Particles that a first map is tried with."""

_LIMITED = 1.25
"""Resolution over the finest that the pixels hold, below which they hold it back."""

_SAMPLES = 4.0
"""Resolution over the pixel size of particles that are to go beyond it."""

_MOST_TEMPLATES = 8

_GUESS = (0.6, 1.8)
"""Diameter that the images suggest, over the first guess, beyond which it is not believed."""


@dataclass(frozen=True)
class Box:
    """How particles are cut out.

    Attributes
    ----------
    box : int
        Pixels of the micrographs.
    scale : int
        Pixels that these are rescaled to.
    pixel_size : float
        After that, angstrom.
    """

    box: int
    scale: int
    pixel_size: float

    @property
    def width(self) -> float:
        """Angstrom."""
        return self.scale * self.pixel_size

    @property
    def scale_option(self) -> int | None:
        """What ``--scale`` is given: nothing where pixels stay as they are."""
        return None if self.scale == self.box else self.scale

    @property
    def words(self) -> str:
        """Pixels and width."""
        return f"{self.scale} pixels of {self.pixel_size:.2f} A ({self.width:.0f} A)"


def box_for(width: float, pixel_size: float, target: float) -> Box:
    """A box of at least a width whose pixels come to a target, or stay those of the micrographs.

    Parameters
    ----------
    width, pixel_size, target : float
        Angstrom.
    """
    if target <= 1.05 * pixel_size:
        box = good_box(-int(-width // pixel_size))
        return Box(box, box, pixel_size)
    scale = good_box(-int(-width // target))
    box = 2 * round(scale * target / pixel_size / 2)
    return Box(box, scale, box * pixel_size / scale)


def coarse_box(diameter: float, room: float, pixel_size: float) -> Box:
    """Box for classes and first maps of a particle of that diameter, angstrom."""
    width = room * diameter
    return box_for(width, pixel_size, min(max(width / ACROSS, FINEST), COARSEST))


def finer_box(width: float, held: float, resolution: float | None, original: float) -> Box | None:
    """Box with finer pixels, if those that a map was refined at hold its resolution back.

    Parameters
    ----------
    width : float
        Of the box, angstrom.
    held : float
        Pixel size of the map.
    resolution : float or None
        That it reached, angstrom.
    original : float
        Pixel size of the micrographs.
    """
    if resolution is None or held <= 1.05 * original or resolution > _LIMITED * 2 * held:
        return None
    return box_for(width, original, max(original, resolution / _SAMPLES))


def believed_diameter(guess: float, suggested: float | None) -> float | None:
    """Diameter that the images suggest, if it is not far from the one that they were picked by."""
    if suggested is None or not _GUESS[0] * guess <= suggested <= _GUESS[1] * guess:
        return None
    return round(suggested, 1)


def templates(classes: Sequence[Mapping[str, Any]]) -> list[int]:
    """Numbers of the best class averages to keep that do not show the same view, from 1.

    Parameters
    ----------
    classes : sequence of mappings
        Of the result of a 2D classification, the best first.
    """
    chosen: list[int] = []
    for entry in classes:
        alike = set(entry["near_duplicates"]) & set(chosen)
        if entry["decision"] == "keep" and entry["particles"] and not alike:
            chosen.append(int(entry["class"]))
    return chosen[:_MOST_TEMPLATES]


_WORSE = ("failed", "ambiguous", "solved")


def worse(one: str, other: str) -> str:
    """The worse of two verdicts."""
    return min(one, other, key=_WORSE.index)
