"""The options of 3D classification: the command line and its help are made from these classes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from vitreous.config.shared import (
    CtfOptions,
    FolderOptions,
    OfChosenParticles,
    SearchOptions,
    WriteOptions,
)


@dataclass(frozen=True, kw_only=True)
class Classify3dOptions(CtfOptions, SearchOptions):
    """How particles are sorted among several maps.

    Attributes
    ----------
    classes : int, optional
        Number of classes; by default as many as references, or 4 from one.
    symmetry : str
        Point group of all maps: C1, Cn, Dn, T, O, I, I1 to I4; the references must lie on its axes.
    mask_diameter : float or auto
        Diameter in angstrom of the spherical mask; auto takes what the images suggest, or 85 % of
        the box where they do not tell.
    lowpass : float
        Resolution in angstrom that one reference is filtered to.
    initial_resolution : float
        Resolution in angstrom that several references are filtered to.
    resolution_limit : float
        Finest resolution in angstrom that classes are told apart by.
    box : int
        Most pixels of the working box: the resolution limit is raised to what it holds.
    regularisation : float
        Factor T on the maps' power when it serves as prior: the more, the finer and noisier.
    iterations : int
        Most passes over all particles; fewer are made once the classes have settled.
    final_passes : int
        Least passes at the resolution limit before classes may be called settled.
    batch_per_class : int
        Particles a class and mini-batch while the references are brought to the resolution limit.
    angular_sampling : float
        Angular step in degrees that classes are told apart at: 15, 7.5, 3.75; all orientations
        are tried at twice that step, and these near the best of them.
    offset_range : float
        Largest in-plane shift searched, in pixels of the maps' grid.
    offset_step : float
        Step of the in-plane shifts, in pixels of the maps' grid; all are tried at twice that.
    local_search : float, optional
        Try only orientations within so many degrees of the STAR file's, and shifts near its own.
    align : bool
        Search orientations and shifts; --no-align takes them from the STAR file.
    reference_greyscale : str
        relative: fit the references' grey level to the images; absolute: it is theirs already.
    fast_subsets : bool
        Use a random part of the particles, 1,500 a class, until the resolution limit is reached.
    hard : bool
        Let each particle add to its likeliest class alone, not to each by its probability.
    fixed : str, optional
        References whose maps stay as they were given, such as 2,3: decoys for images of junk.
    free_decoys : bool
        Refine those of several references that show no molecule too.  A ball, noise that fills its
        box or an empty map otherwise stays as it was given and takes images of junk.
    solvent_flatten : bool
        Mask the solvent and keep density non-negative.
    check : bool
        Stop at what vitreous check calls an error, and at references that differ in pixel size
        or hand.
    """

    classes: int | None = None
    symmetry: str = "C1"
    mask_diameter: float | Literal["auto"] = "auto"
    lowpass: float = 50.0
    initial_resolution: float = 20.0
    resolution_limit: float = 15.0
    box: int = 128
    regularisation: float = 4.0
    iterations: int = 25
    final_passes: int = 2
    batch_per_class: int = 1000
    angular_sampling: float = 7.5
    offset_range: float = 5.0
    offset_step: float = 1.0
    local_search: float | None = None
    align: bool = True
    reference_greyscale: Literal["absolute", "relative"] = "relative"
    fast_subsets: bool = False
    hard: bool = False
    fixed: str | None = None
    free_decoys: bool = False
    solvent_flatten: bool = True
    check: bool = True

    def count(self, references: int) -> int:
        """Classes that are made from so many references."""
        return self.classes or (references if references > 1 else 4)

    def first_resolution(self, references: int) -> float:
        """Resolution in angstrom that so many references are filtered to."""
        return self.lowpass if references == 1 else self.initial_resolution

    @property
    def placed(self) -> bool:
        """Whether the search keeps to the STAR file's poses or near them."""
        return not self.align or self.local_search is not None


@dataclass(frozen=True, kw_only=True)
class _FromTo(OfChosenParticles):
    """What comes next on the command line.

    Attributes
    ----------
    reference : tuple of Path
        Maps to begin with (MRC).  One is split into --classes; of several, good, bad or decoys,
        each begins a class of its own, and balls, noise and empty maps stay as they are (see
        --free-decoys).  Box, pixel size and grey level are brought to the particles'.
    out : Path
        Folder for the results.
    """

    reference: Annotated[tuple[Path, ...], Parameter(consume_multiple=True, negative=())]
    out: Path


@dataclass(frozen=True, kw_only=True)
class Classify3dConfig(WriteOptions, FolderOptions, Classify3dOptions, _FromTo):
    """Particles sorted among several maps, made from one reference or from one each.

    Attributes
    ----------
    mask : Path, optional
        Soft mask (MRC, on the particles' grid) that maps are multiplied by before they are
        compared with images: classes then differ by what lies within.
    """

    mask: Path | None = None
