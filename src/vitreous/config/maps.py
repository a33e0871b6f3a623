"""The options of the jobs on maps: the command line and its help are made from these classes."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Literal

from vitreous.config.shared import (
    CtfOptions,
    DeviceOptions,
    JobOptions,
    OfParticles,
    RankOptions,
    ThreadOptions,
)


@dataclass(frozen=True)
class _HalfMaps(JobOptions):
    """What comes first on the command line.

    Attributes
    ----------
    half1 : Path
        Unfiltered map of one half of the particles, MRC.
    half2 : Path
        The same of the other half.
    """

    half1: Path
    half2: Path


@dataclass(frozen=True, kw_only=True)
class OfHalfMaps(ThreadOptions, _HalfMaps):
    """Two half-maps, and where they are looked at.

    Attributes
    ----------
    out : Path
        Folder for the results.
    mask : Path, optional
        Mask from 0 to 1 with a soft edge; by default one is made round the density.
    mask_diameter : float, optional
        Diameter in angstrom of a soft sphere that is taken as the mask instead.
    pixel_size : float, optional
        Angstrom; by default as the files' headers say.
    seed : int
        Seed of every random choice.
    overwrite : bool
        Replace what a former job left in the folder.
    """

    out: Path
    mask: Path | None = None
    mask_diameter: float | None = None
    pixel_size: float | None = None
    seed: int = 0
    overwrite: bool = False


@dataclass(frozen=True, kw_only=True)
class PostprocessConfig(DeviceOptions, OfHalfMaps):
    """Resolution, sharpening and masking of a map from its two half-maps.

    Attributes
    ----------
    bfactor : float, optional
        B-factor in angstrom^2 that is applied, negative to sharpen, as in RELION; by default
        found by a Guinier fit.
    fit_from : float
        Resolution in angstrom that the Guinier fit begins at.
    fit_to : float, optional
        Resolution in angstrom that it ends at; by default where the FSC ends, as in RELION.
    mtf : Path, optional
        STAR file with the detector's MTF (rlnResolutionInversePixel and rlnMtfValue), which the
        map is divided by.
    mtf_pixel_size : float, optional
        Angstrom a pixel of the detector that the MTF is for; by default the map's pixel size.
    lowpass : float, optional
        Resolution in angstrom that the sharpened map is cut at; by default the weight of the FSC
        alone ends it.
    """

    bfactor: float | None = None
    fit_from: float = 10.0
    fit_to: float | None = None
    mtf: Path | None = None
    mtf_pixel_size: float | None = None
    lowpass: float | None = None


@dataclass(frozen=True, kw_only=True)
class LocalResolutionConfig(DeviceOptions, OfHalfMaps):
    """Resolution everywhere in a map, from its two half-maps, and the map filtered to it.

    Attributes
    ----------
    window : float, optional
        Diameter in angstrom of the soft ball that the FSC is computed in; by default 7 times the
        resolution within the mask.
    threshold : float
        FSC that the local resolution is read at.
    bfactor : float, optional
        B-factor in angstrom^2 applied to the filtered map, negative to sharpen; by default found
        by a Guinier fit.
    """

    window: float | None = None
    threshold: float = 0.143
    bfactor: float | None = None


@dataclass(frozen=True, kw_only=True)
class AnisotropyConfig(DeviceOptions, OfHalfMaps):
    """Resolution by direction from two half-maps, and how evenly the particles' views are spread.

    Attributes
    ----------
    particles : Path, optional
        STAR file with the particles' orientations (rlnAngleRot, rlnAngleTilt).
    symmetry : str
        Point group that the maps were made with: C1, Cn, Dn, T, O, I, I1 to I4.
    """

    particles: Path | None = None
    symmetry: str = "C1"


@dataclass(frozen=True)
class _OneMap(JobOptions):
    """What comes first on the command line.

    Attributes
    ----------
    map : Path
        The map in question, MRC.
    """

    map: Path


@dataclass(frozen=True, kw_only=True)
class SymmetryConfig(DeviceOptions, _OneMap):
    """Test a map for point groups, lay it on their axes and impose one.

    Attributes
    ----------
    align : str, optional
        Point group on whose axes, as RELION lays them, the map is laid; it is the only one tested.
        auto tests all and takes the one found.
    impose : bool
        Average the map over that group.
    out : Path, optional
        Where the aligned map goes, by default beside the map with _symmetry added to its name; the
        scores go beside it as JSON.  Without --align only the scores are written, and only if this
        is given.
    mask_diameter : float, optional
        Diameter in angstrom of the soft sphere that is looked at; by default the map's extent, at
        most 85 % of the box.
    resolution_limit : float, optional
        Finest detail looked at, angstrom; by default where half-maps, if given, fall to an FSC of
        0.143, else 10.  Give what the map is good to: noise beyond counts as asymmetry unless it
        is seen outside the mask too.
    half1 : Path, optional
        First half-map, in the place of the map; the two tell its noise.
    half2 : Path, optional
        Second half-map.
    overwrite : bool
        Replace what is there already.
    """

    align: str | None = None
    impose: bool = False
    out: Path | None = None
    mask_diameter: float | None = None
    resolution_limit: float | None = None
    half1: Path | None = None
    half2: Path | None = None
    overwrite: bool = False


@dataclass(frozen=True)
class _OneJob(JobOptions):
    """What comes first on the command line.

    Attributes
    ----------
    job : Path
        Folder of a finished refinement or reconstruction.
    """

    job: Path


@dataclass(frozen=True, kw_only=True)
class DepositConfig(_OneJob):
    """A set of files for EMDB.

    Attributes
    ----------
    out : Path
        Folder for the set.
    more : tuple of Path
        Folders of other jobs on the same map, such as vitreous postprocess: for what the first
        lacks; may be given several times.
    overwrite : bool
        Replace files that are there already.
    """

    out: Path
    more: tuple[Path, ...] = ()
    overwrite: bool = False


@dataclass(frozen=True)
class _MapAndTruth(JobOptions):
    """What comes first on the command line.

    Attributes
    ----------
    map : Path
        The map in question, MRC.
    truth : Path
        Map or PDB/mmCIF model that it should look like.
    """

    map: Path
    truth: Path


@dataclass(frozen=True, kw_only=True)
class CompareConfig(DeviceOptions, _MapAndTruth):
    """Compare a map with the truth after aligning it over rotation, shift and hand.

    Attributes
    ----------
    out : Path, optional
        Where the aligned map goes; by default beside the map, with _aligned added to its name.
    mask_diameter : float, optional
        Diameter in angstrom of the soft sphere that the FSC is computed in; by default the
        truth's extent.
    overwrite : bool
        Replace an aligned map that is there already.
    """

    out: Path | None = None
    mask_diameter: float | None = None
    overwrite: bool = False


@dataclass(frozen=True)
class ReconstructConfig(CtfOptions, RankOptions, DeviceOptions, OfParticles):
    """Map and half-maps of particles at the poses that they have.

    Attributes
    ----------
    particles : Path
        Particles with poses: a STAR file (RELION 3.0, 3.1 or 5), or a .cs or .csg file
        (cryoSPARC).
    out : Path
        Folder for map.mrc, half1.mrc, half2.mrc, their FSC and a report.
    halves : str
        Where the halves come from: column (rlnRandomSubset), random, micrograph (all particles
        of a micrograph in one half), or none, for the whole alone.
    subset : int, optional
        Only particles of this rlnRandomSubset, in one map.
    class_ : int, optional
        Only particles of this rlnClassNumber.
    weights : str, optional
        Column that says how much each particle counts.
    symmetry : str
        Point group imposed: C1, Cn, Dn, T, O, I, I1 to I4.
    resolution_limit : float, optional
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
        halves; by default --mask-diameter, else 70 % of the box.
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
    halves: Literal["column", "random", "micrograph", "none"] = "column"
    subset: int | None = None
    class_: int | None = None
    weights: str | None = None
    symmetry: str = "C1"
    resolution_limit: float | None = None
    mask_diameter: float | None = None
    ewald: bool = False
    curvature: Literal["forward", "reverse", "both"] = "forward"
    ewald_diameter: float | None = None
    padding: int = 2
    seed: int = 0
    overwrite: bool = False


@dataclass(frozen=True)
class _ModelAndMap(JobOptions):
    """What comes first on the command line.

    Attributes
    ----------
    model : Path
        PDB or mmCIF file.
    map : Path
        The map, MRC.
    """

    model: Path
    map: Path


@dataclass(frozen=True, kw_only=True)
class ModelCheckConfig(DeviceOptions, _ModelAndMap):
    """How well an atomic model and a map agree.

    Attributes
    ----------
    out : Path
        Folder for the fitted model, the FSC, correlations by chain and residue, and a report.
    half1 : Path, optional
        Half-map that the model was refined against, for FSC-work.
    half2 : Path, optional
        The other one, for FSC-free.
    mask : Path, optional
        Mask from 0 to 1 that map and model are compared in; by default one is made round the model.
    resolution_limit : float, optional
        Finest detail in angstrom that the fit and the correlations look at; by default where map
        and model, once fitted, fall to an FSC of 0.5.
    fit : bool
        Move the model, as a rigid body, to where it agrees best; else it stays where it is.
    overwrite : bool
        Replace what a former job left in the folder.
    """

    out: Path
    half1: Path | None = None
    half2: Path | None = None
    mask: Path | None = None
    resolution_limit: float | None = None
    fit: bool = True
    overwrite: bool = False
