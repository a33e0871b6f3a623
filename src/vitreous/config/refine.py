"""The options of refinement: the command line and its help are made from this class."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vitreous.config.shared import (
    CtfOptions,
    FolderOptions,
    OfChosenParticles,
    RunOptions,
    WriteOptions,
)


@dataclass(frozen=True, kw_only=True)
class RefineConfig(WriteOptions, FolderOptions, CtfOptions, RunOptions, OfChosenParticles):
    """Refine a map and all poses from two halves of the particles that never meet.

    Attributes
    ----------
    reference : Path
        Map that the first poses are found with, MRC; only its density down to --lowpass is used.
    out : Path
        Folder for the results.
    symmetry : str
        Point group of the map, laid on RELION's axes: C1, Cn, Dn, T, O, I, I1 to I4.
    mask_diameter : float or auto
        Diameter in angstrom of the circular mask of the images; auto takes what the images
        suggest, or 85 % of the box where they do not tell.
    mask : Path, optional
        Soft mask of the map from 0 to 1; by default one is made anew round the density in every
        pass.
    lowpass : float
        Resolution in angstrom that the reference is cut at before the first pass; where that
        misses what the particles' own poses show, 20 and 15 are tried, too.  Detail of the
        reference that is finer than 20 can end in the map, which is warned of.
    halves : str
        How particles without halves of their own (rlnRandomSubset) are dealt out: random, or all
        of a micrograph or filament together.
    join_halves : float
        Resolution in angstrom to which the halves share their density, so that they stay in one
        frame; only agreement 1.4 times finer than it, and than --lowpass, is claimed.
    regulariser : str
        How the references are filtered: nonuniform, place by place, as the halves predict each
        other; spherical, by the FSC.
    local_search : float, optional
        Begin from the particles' own poses with this angular step in degrees, and search only
        round them; by default a sample of the particles is searched both round their poses, if
        they have any, and everywhere, and the search goes on from what fits the images better.
    ignore_poses : bool
        Search everywhere whatever poses the particles have; not with --local-search.
    angle_prior : float, optional
        Standard deviation in degrees of a Gaussian prior on the angle from the particles' own
        orientations; only with --local-search.
    shift_prior : float, optional
        Standard deviation in angstrom of a Gaussian prior on the shift from their own places, of
        the fulcrum if there is one; only with --local-search.
    fulcrum : tuple of float, optional
        Point x, y, z of the map in angstrom from its centre, that particles turn about, such as
        the middle of the domain in --mask; by default the centre.
    relax_symmetry : str, optional
        Point group whose mates of each particle's orientation are searched, too, for a map in C1;
        only with --local-search.
    per_particle_scale : bool
        Find the strength of each particle's contrast, as vitreousScale, and use it.
    continuous : bool
        At last move each pose off the lattice of steps, to the top of its likelihood; not done
        where a prior holds it.
    offset_range : float
        Largest in-plane shift searched, in pixels of the maps' grid.
    offset_step : float
        Step of the in-plane shifts in the first passes, in pixels of the maps' grid.
    iterations : int
        Most passes over the particles.
    resolution_limit : float, optional
        Resolution in angstrom that no pass goes beyond; by default Nyquist.
    check : bool
        Stop at what vitreous check calls an error, such as inverted contrast.
    """

    reference: Path
    out: Path
    symmetry: str = "C1"
    mask_diameter: float | Literal["auto"] = "auto"
    mask: Path | None = None
    lowpass: float = 40.0
    halves: Literal["random", "micrograph", "filament"] = "random"
    join_halves: float = 40.0
    regulariser: Literal["spherical", "nonuniform"] = "nonuniform"
    local_search: float | None = None
    ignore_poses: bool = False
    angle_prior: float | None = None
    shift_prior: float | None = None
    fulcrum: tuple[float, float, float] | None = None
    relax_symmetry: str | None = None
    per_particle_scale: bool = False
    continuous: bool = True
    offset_range: float = 6.0
    offset_step: float = 2.0
    iterations: int = 40
    resolution_limit: float | None = None
    check: bool = True
