"""The options of extraction: the command line and its help are made from this class."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Literal

from vitreous.config.shared import JobOptions, MicrographOptions


@dataclass(frozen=True)
class _Extracted(JobOptions):
    """What comes first on the command line.

    Attributes
    ----------
    micrographs : Path
        STAR file of the micrographs, with their CTFs if there are any.
    out : Path
        Folder for particles.star and the stacks of images.
    coordinates : Path, optional
        Where the particles lie: a STAR file with micrographs and coordinates, RELION's list of
        coordinate files (autopick.star), or a folder with a STAR file for each micrograph.
    particles : Path, optional
        STAR file of particles to extract again, in the place of coordinates.
    box : int
        Pixels of the micrograph that a particle is cut out with, an even number.
    """

    micrographs: Path
    _: KW_ONLY
    out: Path
    coordinates: Path | None = None
    particles: Path | None = None
    box: int


@dataclass(frozen=True, kw_only=True)
class ExtractConfig(MicrographOptions, _Extracted):
    """Particle images cut out of micrographs, or cut out again after a refinement.

    Attributes
    ----------
    scale : int, optional
        Pixels that the images are rescaled to, an even number.
    normalise : bool
        Give the background a mean of 0 and a standard deviation of 1.
    background_diameter : float, optional
        Diameter in angstrom beyond which is background; by default three quarters of the box.
    ramp : bool
        Subtract a plane fitted to the background, else its mean.
    invert : bool
        Change the sign, so that particles that are dark on the micrographs become white.
    white_dust : float, optional
        Replace pixels more than so many standard deviations above the background's mean by noise.
    black_dust : float, optional
        The same below it.
    ctf : str
        keep leaves the images' CTF as it is; multiply multiplies the images by it; flip flips
        their phases.
    ctf_box : int, optional
        Pixels of the micrograph that this is done in; by default the box.
    min_merit : float, optional
        Least figure of merit of a pick, rlnAutopickFigureOfMerit.
    take_rejected : bool
        Take particles of micrographs too that vitreous ctf rejected.
    recentre : bool
        Of particles to extract again: move the whole pixels of their origins into their
        coordinates.
    recentre_on : tuple of float, optional
        The same, after centring them on this point of the map (x, y, z in angstrom from its
        centre).
    reset_origins : bool
        Of particles to extract again: set the origins that are left to 0.
    micrograph_ctf : bool
        Of particles to extract again: take the CTF of the micrographs' table, not their own.
    float16 : bool
        Write numbers of 16 bits, which RELION reads from version 4 on: half the space.
    seed : int
        Seed of the noise in the place of dust.
    """

    scale: int | None = None
    normalise: bool = True
    background_diameter: float | None = None
    ramp: bool = True
    invert: bool = True
    white_dust: float | None = None
    black_dust: float | None = None
    ctf: Literal["keep", "multiply", "flip"] = "keep"
    ctf_box: int | None = None
    min_merit: float | None = None
    take_rejected: bool = False
    recentre: bool = False
    recentre_on: tuple[float, float, float] | None = None
    reset_origins: bool = False
    micrograph_ctf: bool = False
    float16: bool = False
    seed: int = 0
