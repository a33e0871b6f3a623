"""The options of the tools on maps: the command line and its help are made from these classes."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Literal

from vitreous.config.shared import JobOptions
from vitreous.io.mrc_types import Mode, Point


@dataclass(frozen=True)
class ChangeConfig(JobOptions):
    """What all verbs share that make one map of each map given.

    Attributes
    ----------
    inputs : tuple of Path
        Maps: MRC or CCP4, also compressed (.gz, .bz2).
    out : Path
        The new map (.mrc, .map or .ccp4, and .gz to compress it) or, for several inputs, a folder
        where they keep their names.
    overwrite : bool
        Replace maps that are there already.
    """

    inputs: tuple[Path, ...]
    _: KW_ONLY
    out: Path
    overwrite: bool = False


@dataclass(frozen=True, kw_only=True)
class FilterConfig(ChangeConfig):
    """Options of the filters.

    Attributes
    ----------
    resolution : float
        Resolution in angstrom that the filter is set to.
    edge : float
        Fourier shells over which it falls off, half of them to either side.
    """

    resolution: float
    edge: float = 2.0


@dataclass(frozen=True, kw_only=True)
class LowpassConfig(FilterConfig):
    """Take the detail finer than a resolution off a map."""


@dataclass(frozen=True, kw_only=True)
class HighpassConfig(FilterConfig):
    """Take what is coarser than a resolution off a map, its mean included."""


@dataclass(frozen=True, kw_only=True)
class BfactorConfig(ChangeConfig):
    """Sharpen or blur a map by a B-factor, up to Nyquist.

    Attributes
    ----------
    bfactor : float
        Angstrom^2; negative to sharpen, as in RELION.
    """

    bfactor: float


@dataclass(frozen=True, kw_only=True)
class ScaleConfig(ChangeConfig):
    """Multiply the grey levels of a map, then add to them.

    Attributes
    ----------
    factor : float
        Multiplied by.
    add : float
        Then added.
    """

    factor: float = 1.0
    add: float = 0.0


@dataclass(frozen=True, kw_only=True)
class ShiftConfig(ChangeConfig):
    """Move the density within its box; what comes in at the edge is zero.

    Attributes
    ----------
    by : tuple of float
        Along x, y and z, angstrom.
    """

    by: Point


@dataclass(frozen=True, kw_only=True)
class InvertConfig(ChangeConfig):
    """Turn the contrast round: every grey level to its negative."""


@dataclass(frozen=True, kw_only=True)
class ResampleConfig(ChangeConfig):
    """Bring a map to another pixel size; grey levels and the place in space stay.

    Attributes
    ----------
    pixel_size : float, optional
        The new one, angstrom, which is met exactly; by default the field of view divided by the
        box.
    box : int, optional
        Voxels of the new box; by default as many as hold the field of view, an even number.
    """

    pixel_size: float | None = None
    box: int | None = None


@dataclass(frozen=True, kw_only=True)
class CropConfig(ChangeConfig):
    """Cut a map to a smaller cube about its centre; it stays in its place in space.

    Attributes
    ----------
    box : int
        Voxels along each edge.
    """

    box: int


@dataclass(frozen=True, kw_only=True)
class PadConfig(ChangeConfig):
    """Put a map in the middle of a larger cube; it stays in its place in space.

    Attributes
    ----------
    box : int
        Voxels along each edge.
    fill : float
        Grey level of what is added.
    """

    box: int
    fill: float = 0.0


@dataclass(frozen=True, kw_only=True)
class RotateConfig(ChangeConfig):
    """Turn a map about its centre, so that it is seen along z as particles of a pose see it.

    Attributes
    ----------
    rot : float
        First of RELION's angles, degrees.
    tilt : float
        Second.
    psi : float
        Third.
    inverse : bool
        Turn it the other way: what rotate did is undone.
    """

    rot: float = 0.0
    tilt: float = 0.0
    psi: float = 0.0
    inverse: bool = False


@dataclass(frozen=True, kw_only=True)
class RecentreConfig(ChangeConfig):
    """Move the centre of mass, or a given point, to the centre of the box.

    Attributes
    ----------
    at : tuple of float, optional
        The point: x, y, z in angstrom as viewers show them, from the origin in the header; by
        default the centre of mass.
    threshold : float
        Density counts towards the centre of mass by what it exceeds this by.
    """

    at: Point | None = None
    threshold: float = 0.0


@dataclass(frozen=True, kw_only=True)
class FlipHandConfig(ChangeConfig):
    """Mirror a map about the centre of its box.

    Attributes
    ----------
    axis : x, y or z
        Axis that is turned round: z as in cryoSPARC, x as in RELION.
    """

    axis: Literal["x", "y", "z"] = "z"


@dataclass(frozen=True, kw_only=True)
class SymmetriseConfig(ChangeConfig):
    """Average a map over a point group, whose axes it must lie on: see vitreous symmetry.

    Attributes
    ----------
    symmetry : str
        Cn, Dn, T, O, I, I1 to I4, with axes as RELION lays them.
    """

    symmetry: str


@dataclass(frozen=True, kw_only=True)
class MaskConfig(ChangeConfig):
    """Make a soft mask round the density of a map.

    Attributes
    ----------
    threshold : float, optional
        Density that is within; by default one is found after a low-pass, and specks are left out.
    extend : float, optional
        By how much the mask is grown, angstrom; by default 6, at least 3 pixels.
    edge : float, optional
        Width of its soft edge, angstrom; by default 10, at least 6 pixels.
    lowpass : float, optional
        Resolution in angstrom that the map is filtered to before the threshold given.
    """

    threshold: float | None = None
    extend: float | None = None
    edge: float | None = None
    lowpass: float | None = None


@dataclass(frozen=True, kw_only=True)
class ConvertConfig(ChangeConfig):
    """Write a map anew: another file type or number type, axes in order, header mended.

    Attributes
    ----------
    mode : float32, float16, int16 or int8
        How numbers are stored.  Maps that do not fit an integer type as they are get multiplied so
        that their largest value just fits; the factor is printed.
    pixel_size : float, optional
        Angstrom; by default as the header says.  Nothing is resampled.
    origin : tuple of float, optional
        Where the first voxel lies, x, y, z in angstrom; by default as the header says.
    """

    mode: Mode = "float32"
    pixel_size: float | None = None
    origin: Point | None = None


@dataclass(frozen=True)
class DecoyConfig(JobOptions):
    """What the decoys share.

    Attributes
    ----------
    like : Path
        Map whose box, pixel size, origin and grey level the decoy gets.
    out : Path
        The decoy (.mrc).
    overwrite : bool
        Replace one that is there already.
    """

    _: KW_ONLY
    like: Path
    out: Path
    overwrite: bool = False


@dataclass(frozen=True, kw_only=True)
class SphereConfig(DecoyConfig):
    """Make a decoy for classification: a featureless ball.

    Attributes
    ----------
    radius : float
        Angstrom.
    edge : float
        Width of its soft edge, beyond the radius, angstrom.
    level : float, optional
        Its density; by default the mean of the map's density, found as by vitreous map mask but
        without a margin, over the mean of what is beyond.
    """

    radius: float
    edge: float = 5.0
    level: float | None = None


@dataclass(frozen=True, kw_only=True)
class NoiseConfig(DecoyConfig):
    """Make a decoy for classification: noise of a map's own spectrum, up to Nyquist.

    Attributes
    ----------
    seed : int
        Of the noise.
    resolution : float, optional
        Resolution in angstrom that the noise ends at; by default Nyquist.
    """

    seed: int = 0
    resolution: float | None = None


@dataclass(frozen=True)
class FitConfig(JobOptions):
    """Fit a map or a model into a map as a rigid body, from wherever it is.

    Attributes
    ----------
    moving : Path
        Map, or model (PDB, mmCIF), to be moved.
    target : Path
        Map that it is fitted into.
    out : Path
        The fitted map, on the target's grid, or the fitted model (.pdb, .cif).
    resolution : float, optional
        Finest detail used, angstrom; by default 10, or two pixels if that is coarser.
    hand : keep or best
        Whether it may be mirrored, where that fits better.  The correlation of both hands is
        printed in any case.
    overwrite : bool
        Replace what is there already.
    """

    moving: Path
    target: Path
    _: KW_ONLY
    out: Path
    resolution: float | None = None
    hand: Literal["keep", "best"] = "keep"
    overwrite: bool = False


@dataclass(frozen=True)
class FscConfig(JobOptions):
    """Fourier shell correlation of two maps on one grid.

    Attributes
    ----------
    map1 : Path
        One map.
    map2 : Path
        The other.
    mask : Path, optional
        Mask from 0 to 1 that both are multiplied by.
    pixel_size : float, optional
        Angstrom; by default as the files' headers say.
    xml : Path, optional
        Where the curve goes in EMDB's form.
    json : Path, optional
        Where the curve and the resolutions go as JSON.
    overwrite : bool
        Replace files that are there already.
    """

    map1: Path
    map2: Path
    _: KW_ONLY
    mask: Path | None = None
    pixel_size: float | None = None
    xml: Path | None = None
    json: Path | None = None
    overwrite: bool = False


@dataclass(frozen=True)
class InfoConfig(JobOptions):
    """Header, statistics and what is odd about maps or stacks.

    Attributes
    ----------
    inputs : tuple of Path
        MRC or CCP4 files.
    json : Path, optional
        Where the same goes as JSON.
    overwrite : bool
        Replace it if it is there already.
    """

    inputs: tuple[Path, ...]
    _: KW_ONLY
    json: Path | None = None
    overwrite: bool = False
