"""The options of the search for first maps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, get_args

from vitreous.config.shared import (
    CtfOptions,
    FolderOptions,
    OfChosenParticles,
    SearchOptions,
    WriteOptions,
)
from vitreous.math.group_names import is_polyhedral

Effort = Literal["low", "normal", "high"]

EFFORTS: Final = get_args(Effort)


@dataclass(frozen=True, kw_only=True)
class AbinitConfig(WriteOptions, FolderOptions, CtfOptions, SearchOptions, OfChosenParticles):
    """One or several first maps from particles in unknown orientations.

    Attributes
    ----------
    out : Path
        Folder for the results.
    classes : int
        Number of maps that the particles are divided among.
    class_similarity : float
        How alike the classes are taken to be, from 0 to 1: the share of each particle that all
        classes get alike.  Annealed to 0 over the first half of the final iterations.
    skip_anneal : bool
        No class similarity: classes are free to differ from the first iteration.
    symmetry : str
        Point group imposed on the map: C1, Cn, Dn, T, O, I, I1 to I4; auto makes a map in C1
        and looks for its symmetry.  A group that the map holds is imposed if particles are then
        explained better; where the map is in doubt the group that stands out is searched under.
    mask_diameter : float or auto
        Diameter in angstrom of the spherical mask; auto takes what the images suggest, or 85 % of
        the box where they do not tell.
    initial_resolution : float, optional
        Resolution in angstrom that the search begins at; by default 35, or 30 under T, O or I,
        whose density shows no hand before.
    final_resolution : float, optional
        Resolution in angstrom that it ends at; by default 15, or 10 under T, O or I, whose density
        shows no hand before about 12.
    initial_iterations : int, optional
        Iterations at the initial resolution with the initial mini-batch.
    between_iterations : int, optional
        Iterations over which resolution and mini-batch grow.
    final_iterations : int, optional
        Iterations at the final resolution with the final mini-batch.
    initial_batch : int, optional
        Particles a mini-batch at the start.
    final_batch : int, optional
        Particles a mini-batch at the end.
    offset_range : float
        Largest in-plane shift searched, in pixels of the maps' grid.
    offset_step : float
        Step of the in-plane shifts, in pixels of the maps' grid.
    angular_sampling : float, optional
        Angular step in degrees, taken to the nearest of 30, 15, 7.5, 3.75; by default 15 or, as
        the resolution needs it and symmetry makes it cheap, finer, and halved in the last pass.
    polish_passes : int
        Most passes over all particles, at the end, at each of the finer angular steps.
    solvent_flatten : bool
        Mask the solvent and keep density non-negative.
    noise_halflife : float
        Particles after which an inflation of the noise variance, eight-fold at first, has halved;
        by default (-1) a factor on that variance is found from how certain the particles are.
    write_every : int
        Iterations between checkpoints and intermediate maps.
    effort : str
        low, normal or high: what is done before the job gives up.  normal begins a search for one
        map anew, with mini-batches three times as large, where its starts find nothing in common;
        low does not, and makes half of the starts.  high makes twice the starts with mini-batches
        twice as large, looks for symmetry if none is imposed and, if all that solves nothing,
        searches with three classes.
    starts : int or auto
        Independent random starts on the same mini-batches; of more than two the weaker half is
        stopped after half of the iterations, and again after three quarters; where the last two
        find nothing in common, the likeliest of the others goes on.  The one that explains
        held-out particles best is kept, and how far they agree gives the verdict.  auto
        makes, with normal effort, six for one map, eight under T, O or I, whose density may settle
        in a false solution, and two for several classes.
    particles_used : int, auto or all
        Particles that the job works with, spread evenly over the stack; the others are left out of
        particles.star.  auto takes as many for each class as the iterations of a start see, 17,000
        by default, and 100,000 at most: more hardly make a better first map.
    pose_all : bool
        Find poses by the last map for the particles that were not used, too, in one pass; they
        are then in particles.star.
    check : bool
        Stop at what vitreous check calls an error, such as inverted contrast.
    """

    out: Path
    classes: int = 1
    class_similarity: float = 0.1
    skip_anneal: bool = False
    symmetry: str = "C1"
    mask_diameter: float | Literal["auto"] = "auto"
    initial_resolution: float | None = None
    final_resolution: float | None = None
    initial_iterations: int | None = None
    between_iterations: int | None = None
    final_iterations: int | None = None
    initial_batch: int | None = None
    final_batch: int | None = None
    offset_range: float = 6.0
    offset_step: float = 2.0
    angular_sampling: float | None = None
    polish_passes: int = 3
    solvent_flatten: bool = True
    noise_halflife: float = -1.0
    write_every: int = 10
    effort: Effort = "normal"
    starts: int | Literal["auto"] = "auto"
    particles_used: int | Literal["auto", "all"] = "auto"
    pose_all: bool = False
    check: bool = True

    @property
    def ends_at(self) -> float:
        """Resolution in angstrom that the search ends at: as given, or by default."""
        return self.final_resolution or (10.0 if is_polyhedral(self.symmetry) else 15.0)
