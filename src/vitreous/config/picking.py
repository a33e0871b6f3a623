"""The options of picking: the command line and its help are made from this class."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vitreous.config.ctf_estimation import OfMicrographs
from vitreous.config.shared import MicrographOptions


@dataclass(frozen=True, kw_only=True)
class _Particles:
    """What comes next on the command line.

    Attributes
    ----------
    diameter : float
        Of the particles, angstrom: their longest, or somewhat less.
    """

    diameter: float


@dataclass(frozen=True, kw_only=True)
class PickConfig(MicrographOptions, _Particles, OfMicrographs):
    """Particles found on micrographs as blobs or by references, few of them false.

    Attributes
    ----------
    fdr : float
        Share of the picks that may be false.
    min_diameter : float, optional
        Shortest diameter of the particles, angstrom; by default 0.7 of the diameter.
    references : Path, optional
        Images to look for in the place of blobs: an MRC stack of class averages, or a map, of which
        projections are taken; particles white.
    reference_pixel_size : float, optional
        Of the references, angstrom; by default as their header says.
    angle_step : float
        Degrees between directions that references are turned to, and between views of a map.
    ctf : bool
        Multiply references by the micrograph's CTF, where the table has it.
    contrast : str
        Particles are dark or light on the micrographs; auto finds out.
    min_distance : float, optional
        That picks are apart at least, angstrom; by default 0.6 of the diameter.
    border : float, optional
        Width along the micrographs' border without picks, angstrom; by default half the diameter.
    take_rejected : bool
        Pick on micrographs too that vitreous ctf rejected.
    """

    fdr: float = 0.1
    min_diameter: float | None = None
    references: Path | None = None
    reference_pixel_size: float | None = None
    angle_step: float = 15.0
    ctf: bool = True
    contrast: Literal["auto", "dark", "light"] = "auto"
    min_distance: float | None = None
    border: float | None = None
    take_rejected: bool = False
