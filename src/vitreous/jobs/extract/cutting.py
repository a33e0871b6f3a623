"""The work on one micrograph: its particles are cut out and written as a stack."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from vitreous.config.extract import ExtractConfig
from vitreous.errors import InputError, OptionError
from vitreous.imaging.ctf import Defocus, Optics
from vitreous.io.mrc import read_micrograph, stack_writer
from vitreous.preprocessing.extraction import Background, Extraction, Transfer, cut, outside

_BACKGROUND = 0.75
"""Diameter of the particle over the box where none is given, as RELION has it."""


@dataclass(frozen=True)
class Cutting:
    """Particles of one micrograph.

    Attributes
    ----------
    micrograph : Path
    stack : Path
        File that their images are written to.
    pixel_size : float
        Of the micrograph, angstrom.
    xy : array (particles, 2)
        Pixels of the micrograph.
    defocus : array (particles, 4) or None
        U, V (angstrom), angle and phase shift (degrees), where the CTF is applied.
    optics : Optics
    seed : int
    """

    micrograph: Path
    stack: Path
    pixel_size: float
    xy: Float[np.ndarray, "n 2"]
    defocus: Float[np.ndarray, "n 4"] | None
    optics: Optics
    seed: int


def final_box(config: ExtractConfig) -> int:
    """Pixels of the images."""
    return config.box if config.scale is None else config.scale


def extraction_of(config: ExtractConfig, pixel_size: float) -> Extraction:
    """How particles are cut from micrographs of a pixel size (angstrom)."""
    final = final_box(config)
    if not config.normalise:
        return Extraction(config.box, final, None, config.invert)
    whole = config.box * pixel_size
    diameter = config.background_diameter or _BACKGROUND * whole
    if diameter > whole:
        raise OptionError(
            f"a background diameter of {diameter:g} A leaves no background in a box of "
            f"{config.box} pixels, {whole:g} A",
            where="--background-diameter",
            hint="give a smaller one, or a larger --box",
        )
    # A whole number of pixels, as RELION has it.
    radius = int(diameter / whole * final / 2)
    background = Background(radius, config.ramp, config.white_dust, config.black_dust)
    return Extraction(config.box, final, background, config.invert)


def _transfer(config: ExtractConfig, work: Cutting, kept: np.ndarray) -> Transfer | None:
    if work.defocus is None or config.ctf == "keep":
        return None
    u, v, angle, phase = torch.from_numpy(work.defocus[kept]).T.contiguous()
    box = config.ctf_box or config.box
    return Transfer(config.ctf, Defocus(u, v, angle, phase), work.optics, work.pixel_size, box)


def cut_micrograph(config: ExtractConfig, work: Cutting) -> dict[str, Any]:
    """Write the stack of a micrograph's particles.

    Returns
    -------
    How many were cut (particles), and which were left out as their boxes lie beyond the micrograph
    (outside: their places in ``work``).

    Raises
    ------
    InputError
        For a micrograph that cannot be read or is smaller than the box, and if no particle is left.
    """
    image = read_micrograph(work.micrograph)
    if min(image.shape) < config.box:
        raise InputError(
            f"is {image.shape[1]} x {image.shape[0]} pixels, smaller than the box of {config.box}",
            where=work.micrograph,
            hint="give a smaller --box",
        )
    beyond = outside(work.xy, config.box, image.shape)
    if beyond.all():
        x, y = work.xy[0]
        raise InputError(
            f"all {len(work.xy)} particles lie beyond its {image.shape[1]} x {image.shape[0]} "
            f"pixels, the first at {x:g}, {y:g}",
            where=work.micrograph,
            hint="give coordinates in pixels of this micrograph",
        )
    kept = np.flatnonzero(~beyond)
    extraction = extraction_of(config, work.pixel_size)
    pixel_size = work.pixel_size * config.box / extraction.final_box
    images = cut(image, work.xy[kept], extraction, _transfer(config, work, kept), work.seed)
    size = (extraction.final_box, len(kept), pixel_size)
    with stack_writer(work.stack, *size, float16=config.float16) as stack:
        for some in images:
            stack.append(some)
    return {"particles": len(kept), "outside": np.flatnonzero(beyond).tolist()}
