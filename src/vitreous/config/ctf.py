"""The options of CTF refinement: the command line and its help are made from this class."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from pathlib import Path

from vitreous.config.shared import DeviceOptions, OfParticles, WriteOptions


@dataclass(frozen=True)
class CtfRefineConfig(WriteOptions, DeviceOptions, OfParticles):
    """Defocus, aberrations and magnification of particles, refined against their map.

    Attributes
    ----------
    particles : Path
        Particles (STAR, .cs or .csg) of a finished refinement, with orientations (STAR of RELION
        3.1 or 5; of RELION 3.0 for --defocus and --astigmatism only).
    out : Path
        Folder for the results.
    half1 : Path, optional
        Unfiltered map of the particles with rlnRandomSubset 1, MRC; those of subset 2 are compared
        with it.
    half2 : Path, optional
        The same the other way round.
    map : Path, optional
        One map that all particles are compared with, in the place of two half-maps.  It should
        not be made from them: a particle's own noise in a map holds its values at what they were.
    mask : Path, optional
        Mask from 0 to 1 that the maps are multiplied by; by default one is made round the density
        that two half-maps share, and a single map is taken as it is.
    defocus : bool
        Refine each particle's defocus.
    astigmatism : bool
        Refine each micrograph's astigmatism, and its mean defocus with it.
    beam_tilt : bool
        Refine each optics group's beam tilt.
    trefoil : bool
        Refine each optics group's three-fold astigmatism.
    magnification : bool
        Refine each optics group's anisotropic magnification.
    resolution_limit : float, optional
        Finest detail compared, angstrom; by default where the masked half-maps fall to an FSC of
        0.143, or Nyquist with a single map.
    lowest_resolution : float
        Coarsest detail compared, angstrom.
    defocus_range : float
        Largest change of a particle's defocus, angstrom.
    pixel_size : float, optional
        Of the maps, angstrom; by default as the files' headers say.
    seed : int
        Seed of the draw of particles that signal and noise are measured on.
    overwrite : bool
        Replace what a former job left in the folder.
    """

    particles: Path
    _: KW_ONLY
    out: Path
    half1: Path | None = None
    half2: Path | None = None
    map: Path | None = None
    mask: Path | None = None
    defocus: bool = False
    astigmatism: bool = False
    beam_tilt: bool = False
    trefoil: bool = False
    magnification: bool = False
    resolution_limit: float | None = None
    lowest_resolution: float = 30.0
    defocus_range: float = 2000.0
    pixel_size: float | None = None
    seed: int = 0
    overwrite: bool = False
