"""The options of the jobs on particles: the command line and its help are made from these."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Literal

from vitreous.config.shared import DeviceOptions, OfParticles, WriteOptions


@dataclass(frozen=True, kw_only=True)
class Criteria:
    """Which particles to keep, and what to change of their columns.

    The steps are taken in this order, each on what the last one left.

    Attributes
    ----------
    where : tuple of str
        Condition on columns, such as "rlnCtfMaxResolution < 6 and rlnOpticsGroupName != 'b'"; may
        be given several times.
    min_posterior : float, optional
        Least posterior of the best pose, rlnMaxValueProbDistribution.
    min_class_posterior : float, optional
        Least posterior of the particle's class, vitreousClassPosterior.
    max_junk : float, optional
        Most probability of junk, vitreousJunkProbability.  With --auto on a 2D classification 0.5
        by default.
    recentre : tuple of float, optional
        Point of the map (x, y, z in angstrom from its centre) that the origins are to centre the
        particles on.
    min_distance : float, optional
        Of particles nearer each other than this on a micrograph, angstrom, keep the one with the
        highest posterior or figure of merit.
    coordinate_pixel_size : float, optional
        Angstrom a pixel of the coordinates; by default as the table says.
    origins_to_coordinates : bool
        Move the whole pixels of the origins into the coordinates, for a new extraction.
    even_views : float, optional
        Cut crowded views down to what this share of the views has at most, 0.5 for the median; the
        particles of the highest posterior or figure of merit are kept.
    symmetry : str
        Point group of the map, for --even-views.
    max_per_class : int, optional
        Most particles a class, chosen at random.
    random : int, optional
        Number of particles to choose at random.
    halves : str, optional
        Deal particles into two halves, rlnRandomSubset: random, or all of a micrograph or filament
        together.
    regroup : int, optional
        Put micrographs of similar scale into groups of at least so many particles, rlnGroupNumber
        and rlnGroupName.
    seed : int
        Seed of every random choice.
    """

    where: tuple[str, ...] = ()
    min_posterior: float | None = None
    min_class_posterior: float | None = None
    max_junk: float | None = None
    recentre: tuple[float, float, float] | None = None
    min_distance: float | None = None
    coordinate_pixel_size: float | None = None
    origins_to_coordinates: bool = False
    even_views: float | None = None
    symmetry: str = "C1"
    max_per_class: int | None = None
    random: int | None = None
    halves: Literal["random", "micrograph", "filament"] | None = None
    regroup: int | None = None
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class SelectConfig(WriteOptions, Criteria, OfParticles):
    """Some particles of a table, with all their columns.

    Of a STAR file of micrographs, --auto keeps those that vitreous ctf did not reject; they are
    also selected by --where and --random.

    First come those that other tables have or have not; then classes are chosen; then the steps are
    taken in the order of the criteria, each on what the last one left.

    Attributes
    ----------
    out : Path
        STAR or .cs file for the particles kept; a JSON file of the same name tells what was done.
    and_ : tuple of Path
        Other particles: keep those that are in them, too; may be given several times.
    not_ : tuple of Path
        Other particles: leave out those that are in them.
    join : tuple of Path
        Other particles: add those that are not there yet.
    match : str
        How particles are known to be the same: image, by the image file and number; or place, by
        the micrograph's name and the coordinates.
    match_distance : float
        Most angstrom between places that are one.
    classes : str, optional
        Classes to keep, such as 1,3 or 1-4.
    auto : bool
        Keep the classes with a score of at least --min-score, from the result.json or model.star
        beside the particles; of micrographs those that are not rejected.
    min_score : float
        From 0 to 1.  Classes of 2D classification that are doubtful have 0.5 or more.
    min_resolution : float, optional
        Keep classes whose resolution is at least this good, angstrom.
    classes_from : Path, optional
        A result.json of this program or a model.star of RELION, where it is elsewhere.
    split : int or class, optional
        Write so many parts, or one for each class, to STAR files of their own.
    overwrite : bool
        Replace files that are there already.
    """

    out: Path
    and_: tuple[Path, ...] = ()
    not_: tuple[Path, ...] = ()
    join: tuple[Path, ...] = ()
    match: Literal["image", "place"] = "image"
    match_distance: float = 20.0
    classes: str | None = None
    auto: bool = False
    min_score: float = 0.5
    min_resolution: float | None = None
    classes_from: Path | None = None
    split: int | Literal["class"] | None = None
    overwrite: bool = False


@dataclass(frozen=True, kw_only=True)
class ConvertConfig(OfParticles):
    """The same particles in another format.

    Attributes
    ----------
    particles : Path
        RELION's STAR (3.0, 3.1 or 5), cryoSPARC's .cs or .csg, cisTEM's .star or FREALIGN's .par,
        EMAN2's .lst or .hdf.
    out : Path
        File whose name ends in .star, .cs or .par.
    layout : str
        Of a STAR file: 3.1 with optics groups, which RELION 4 and 5 have as well; 3.0; or cistem.
    cs_layout : str
        Of a .cs file: npy, or the compressed stream.
    invert_y : bool
        Count y from the other side of the micrographs.
    picture : Path, optional
        PNG file for one micrograph with the particles' places on it, as they are and with y
        inverted, to see which is right.
    stack : Path, optional
        Image stack of a .par file, which names none.
    pixel_size : float, optional
        Angstrom a pixel of the images, of a .par file.
    side : Path, optional
        Side table of an earlier conversion; by default that beside the particles.
    no_side : bool
        Neither read nor write a side table.
    overwrite : bool
        Replace files that are there already.
    """

    out: Path
    layout: Literal["3.1", "3.0", "cistem"] = "3.1"
    cs_layout: Literal["npy", "stream"] = "npy"
    invert_y: bool = False
    picture: Path | None = None
    stack: Path | None = None
    pixel_size: float | None = None
    side: Path | None = None
    no_side: bool = False
    overwrite: bool = False


@dataclass(frozen=True)
class ExpandSymmetryConfig(WriteOptions, OfParticles):
    """Every particle once for each pose that a symmetric map cannot tell from its own.

    Attributes
    ----------
    particles : Path
        Particles (STAR, .cs or .csg) with poses found under the symmetry.
    symmetry : str
        Point group: Cn, Dn, T, O, I, I1 to I4, its axes as RELION lays them.
    out : Path
        STAR or .cs file for the expanded particles.
    overwrite : bool
        Replace a file that is there already.
    """

    particles: Path
    _: KW_ONLY
    symmetry: str
    out: Path
    overwrite: bool = False


@dataclass(frozen=True, kw_only=True)
class SubtractOptions:
    """How the projections of a part of a map are subtracted.

    Attributes
    ----------
    recentre_on_mask : bool
        Move the images so that the mask's centre of mass comes to lie in their centre.
    box : int, optional
        Pixels that the images are cut down to, round what they are centred on.
    greyscale : str
        fitted scales the map to the images, one number for each optics group; absolute takes the
        map's grey levels as they are.
    particle_scale : str
        none; column multiplies by rlnGroupScaleCorrection; fitted scales each particle to its
        image, drawn towards the group's mean as far as the scatter is noise.
    fit_resolution : float
        Resolution in angstrom that scales are fitted to.
    ctf : bool
        Apply the contrast transfer function to the projections.
    phase_flipped : bool
        The images' phases were flipped already.
    seed : int
        Seed of the choice of particles that scales are fitted on.
    """

    recentre_on_mask: bool = False
    box: int | None = None
    greyscale: Literal["fitted", "absolute"] = "fitted"
    particle_scale: Literal["none", "column", "fitted"] = "none"
    fit_resolution: float = 15.0
    ctf: bool = True
    phase_flipped: bool = False
    seed: int = 0


@dataclass(frozen=True)
class _Subtracted(DeviceOptions, OfParticles):
    """What comes first on the command line.

    Attributes
    ----------
    particles : Path
        Particles (STAR, .cs or .csg) with poses.
    out : Path
        Folder for particles.star and particles.mrcs.
    map : Path, optional
        Map that the particles were aligned to, on their grid.
    mask : Path, optional
        Mask, from 0 to 1, of what is kept: the map outside it is subtracted.
    """

    particles: Path
    _: KW_ONLY
    out: Path
    map: Path | None = None
    mask: Path | None = None


@dataclass(frozen=True, kw_only=True)
class SubtractConfig(WriteOptions, SubtractOptions, _Subtracted):
    """Particle images less the projections of a part of the map.

    Attributes
    ----------
    revert : bool
        Give the particles their images from before a subtraction back, instead.
    overwrite : bool
        Replace what a former job left in the folder.
    """

    revert: bool = False
    overwrite: bool = False


@dataclass(frozen=True)
class CheckConfig(DeviceOptions, OfParticles):
    """Look at particles before a job: what is wrong with them, and what would suit them.

    Attributes
    ----------
    particles : Path
        Particles: a STAR file (RELION 3.0, 3.1 or 5), or a .cs or .csg file (cryoSPARC).
    out : Path, optional
        JSON file for the findings and estimates.
    resolution : float
        Resolution in angstrom that the particles are meant to reach.
    mask_diameter : float, optional
        Diameter in angstrom of the mask that a job is going to use.
    ctf : bool
        The job is going to correct for the contrast transfer function.
    phase_flipped : bool
        The job is going to take the images' phases as flipped already.
    overwrite : bool
        Replace a record that is there already.
    """

    particles: Path
    _: KW_ONLY
    out: Path | None = None
    resolution: float = 15.0
    mask_diameter: float | None = None
    ctf: bool = True
    phase_flipped: bool = False
    overwrite: bool = False
