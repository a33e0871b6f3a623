"""The options of the jobs that judge poses and models."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Literal

from vitreous.jobs.config_shared import CtfOptions, OfParticles


@dataclass(frozen=True)
class ReconstructConfig(CtfOptions, OfParticles):
    """Map and half-maps of particles at the poses that they have.

    Attributes
    ----------
    particles : Path
        Particle STAR file with poses (RELION 3.0, 3.1 or 5).
    out : Path
        Folder for map.mrc, half1.mrc, half2.mrc, their FSC and a report.
    halves : str
        Where the halves come from: column (rlnRandomSubset), random, by-micrograph (all particles
        of a micrograph in one half), or none, for the whole alone.
    subset : int, optional
        Only particles of this rlnRandomSubset, in one map.
    class_ : int, optional
        Only particles of this rlnClassNumber.
    weights : str, optional
        Column that says how much each particle counts.
    symmetry : str
        Point group imposed: C1, Cn, Dn, T, O, I, I1 to I4.
    max_resolution : float, optional
        Resolution in angstrom that the maps are cut at; by default Nyquist.
    mask_diameter : float, optional
        Diameter in angstrom of the soft sphere that the halves are compared in; by default a mask
        is made round the density.
    ewald : bool
        Allow for the curvature of the Ewald sphere, which thick particles feel at high resolution.
    curvature : str
        Which way the sphere curves: forward, as relion_reconstruct has it; reverse; or both, one
        after the other, of which the one is kept whose halves agree better.  Images and their
        movies do not tell: it hangs on the map's hand and on how the camera was read out.
    ewald_diameter : float, optional
        Diameter of the particle in angstrom, by which images are parted into the sphere's two
        halves; by default ``mask_diameter``, else 70 % of the box.
    padding : int
        Oversampling of the maps' transforms, 2 to 4: memory grows with its third power.
    seed : int
        Of the random halves, and of the random phases of the FSC.
    overwrite : bool
        Replace what a former job left in the folder.
    """

    particles: Path
    _: KW_ONLY
    out: Path
    halves: Literal["column", "random", "by-micrograph", "none"] = "column"
    subset: int | None = None
    class_: int | None = None
    weights: str | None = None
    symmetry: str = "C1"
    max_resolution: float | None = None
    mask_diameter: float | None = None
    ewald: bool = False
    curvature: Literal["forward", "reverse", "both"] = "forward"
    ewald_diameter: float | None = None
    padding: int = 2
    seed: int = 0
    overwrite: bool = False


@dataclass(frozen=True)
class ModelCheckConfig:
    """How well an atomic model and a map agree.

    Attributes
    ----------
    model : Path
        PDB or mmCIF file.
    map : Path
        The map, MRC.
    out : Path
        Folder for the fitted model, the FSC, correlations by chain and residue, and a report.
    half1 : Path, optional
        Half-map that the model was refined against, for FSC-work.
    half2 : Path, optional
        The other one, for FSC-free.
    mask : Path, optional
        Mask from 0 to 1 that map and model are compared in; by default one is made round the model.
    resolution : float, optional
        Finest detail in angstrom that the fit and the correlations look at; by default where map
        and model, once fitted, fall to an FSC of 0.5.
    fit : bool
        Move the model, as a rigid body, to where it agrees best; else it stays where it is.
    overwrite : bool
        Replace what a former job left in the folder.
    """

    model: Path
    map: Path
    _: KW_ONLY
    out: Path
    half1: Path | None = None
    half2: Path | None = None
    mask: Path | None = None
    resolution: float | None = None
    fit: bool = True
    overwrite: bool = False
