"""The work on one micrograph: what may be particles on it, and the decoys beside them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from vitreous.config.picking import PickConfig
from vitreous.errors import InputError
from vitreous.imaging.ctf import Defocus, Optics
from vitreous.io.mrc import read_micrograph
from vitreous.preprocessing.picking.decoys import Evidence
from vitreous.preprocessing.picking.pick import Candidates, Sought, search
from vitreous.preprocessing.picking.prepared import prepared_pixel
from vitreous.preprocessing.picking.references import References, turned, under_ctf

_SHORTER, _APART, _BORDER = 0.7, 0.6, 0.5
"""Shortest diameter, distance and border over the diameter, where none are given."""

_KEPT = 0.8
"""Share of false ones among a micrograph's picks up to which candidates are remembered."""


@dataclass(frozen=True)
class Searching:
    """One micrograph.

    Attributes
    ----------
    micrograph : Path
    pixel_size : float
        Angstrom.
    optics : Optics
    defocus : tuple of float or None
        U, V (angstrom), angle and phase shift (degrees).
    images : array (images, box, box) or None
        References at the pixel size that the micrograph is prepared at.
    """

    micrograph: Path
    pixel_size: float
    optics: Optics
    defocus: tuple[float, float, float, float] | None
    images: Float[np.ndarray, "k b b"] | None


def sought_of(config: PickConfig) -> Sought:
    """What is looked for."""
    diameter = config.diameter
    return Sought(
        diameter,
        config.min_diameter or _SHORTER * diameter,
        diameter,
        config.min_distance or _APART * diameter,
        _BORDER * diameter if config.border is None else config.border,
        {"auto": None, "dark": True, "light": False}[config.contrast],
        balls=config.references is None,
    )


def _references(config: PickConfig, work: Searching) -> References | None:
    if work.images is None:
        return None
    pixel = prepared_pixel(work.pixel_size, config.diameter)
    references = turned(work.images, config.diameter / pixel, config.angle_step)
    if work.defocus is None or not config.ctf:
        return references
    u, v, angle, phase = (torch.tensor([value], dtype=torch.float64) for value in work.defocus)
    return under_ctf(references, pixel, Defocus(u, v, angle, phase), work.optics)


def _record(found: Candidates | None) -> dict[str, Any] | None:
    """Candidates as JSON holds them, without those that are noise for the most part."""
    if found is None:
        return None
    known = found.evidence
    count = np.arange(1, len(known.scores) + 1)
    above = len(known.decoys) - np.searchsorted(known.decoys, known.scores, side="left")
    good = np.flatnonzero(above / known.left / count <= _KEPT)
    last = int(good[-1]) + 1 if len(good) else 0
    least = known.scores[last - 1] if last else np.inf
    return {
        "x": found.places[:last, 0].round(2).tolist(),
        "y": found.places[:last, 1].round(2).tolist(),
        "reference": found.references[:last].tolist(),
        "score": known.scores[:last].round(4).tolist(),
        "left": known.left[:last].round(4).tolist(),
        "free": known.free[:last].round(4).tolist(),
        "decoys": known.decoys[known.decoys >= least].round(4).tolist(),
        "area": known.area,
    }


def evidence_of(record: dict[str, Any]) -> Evidence:
    """What a record says of a micrograph's picks and decoys."""
    scores, left, free, decoys = (
        np.array(record[key], float) for key in ("score", "left", "free", "decoys")
    )
    return Evidence(scores, left, free, decoys, record["area"])


def search_micrograph(config: PickConfig, work: Searching) -> dict[str, Any]:
    """Find what may be particles on a micrograph.

    Raises
    ------
    InputError
        For a micrograph that cannot be read, or is smaller than four particles.
    """
    image = read_micrograph(work.micrograph)
    side = min(image.shape) * work.pixel_size
    if side < 4 * config.diameter:
        raise InputError(
            f"is {side:.0f} A wide, less than four particles of {config.diameter:g} A",
            where=work.micrograph,
            hint="check --diameter and the pixel size",
        )
    if not float(image.std()) > 0:
        raise InputError(
            "all pixels have the same value", where=work.micrograph, hint="leave it out"
        )
    found = search(image, work.pixel_size, sought_of(config), _references(config, work))
    sides = {"dark": found.dark, "light": found.light, "balls": found.balls}
    return {**{side: _record(one) for side, one in sides.items()}, "searched": found.share}
