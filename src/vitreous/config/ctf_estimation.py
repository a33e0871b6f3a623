"""The options of CTF estimation: the command line and its help are made from this class."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from pathlib import Path

from vitreous.config.shared import JobOptions, MicrographOptions


@dataclass(frozen=True)
class OfMicrographs(JobOptions):
    """What comes first on the command line.

    Attributes
    ----------
    micrographs : Path
        STAR file of micrographs, as vitreous import, motion or ctf leave it, or RELION.
    out : Path
        Folder for the results.
    """

    micrographs: Path
    _: KW_ONLY
    out: Path


@dataclass(frozen=True, kw_only=True)
class CtfConfig(MicrographOptions, OfMicrographs):
    """The contrast transfer function of every micrograph, from its Thon rings.

    Attributes
    ----------
    phase_shift : bool
        Fit the phase shift of a phase plate as well.
    min_defocus : float
        Least defocus searched, angstrom.
    max_defocus : float
        Greatest defocus searched, angstrom.
    max_astigmatism : float
        Greatest difference of the defoci along both axes, angstrom.
    lowest_resolution : float
        Coarsest resolution fitted, angstrom.
    resolution_limit : float
        Finest resolution fitted, angstrom.
    """

    phase_shift: bool = False
    min_defocus: float = 4000.0
    max_defocus: float = 45000.0
    max_astigmatism: float = 6000.0
    lowest_resolution: float = 30.0
    resolution_limit: float = 3.8
