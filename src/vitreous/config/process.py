"""The options of the whole road from movies to a map."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from vitreous.config.movies import OfFiles, OpticsOptions
from vitreous.config.shared import DeviceOptions, WorkerOptions


@dataclass(frozen=True, kw_only=True)
class ProcessConfig(DeviceOptions, WorkerOptions, OpticsOptions, OfFiles):
    """From movies or micrographs to a refined map, each step a command of its own.

    Attributes
    ----------
    files : tuple of Path
        Movies or micrographs, patterns in quotes, or a STAR file of either.
    out : Path
        Folder for the steps, each in a folder of its own, and for the page that tells of them all.
    diameter : float, optional
        Of the particles, angstrom: their longest, or somewhat less; by default it is found on some
        micrographs.
    symmetry : str
        Point group of the map: C1, Cn, Dn, T, O, I, I1 to I4; auto looks for it in a map made
        without.
    set : tuple of str
        Options of a step, such as pick.fdr=0.05 or refine.lowpass=30, as its own command has them;
        may be given several times.  none takes an option back.
    seed : int
        Seed of every random choice.
    """

    out: Path
    diameter: float | None = None
    symmetry: str = "auto"
    set: Annotated[tuple[str, ...], Parameter(negative=())] = ()
    seed: int = 0
