"""The options of 2D classification: the command line and its help are made from these classes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vitreous.config.shared import (
    CtfOptions,
    FolderOptions,
    OfParticles,
    SearchOptions,
    WriteOptions,
)


@dataclass(frozen=True, kw_only=True)
class Class2dOptions(CtfOptions, SearchOptions):
    """How particles are sorted among class averages.

    Attributes
    ----------
    classes : int, optional
        Number of classes; by default one for every 50 particles, from 2 to 100.
    mask_diameter : float or auto
        Diameter in angstrom of the circular mask; auto takes what the images suggest, or 85 % of
        the box where they do not tell.
    tau2_fudge : float
        Factor T on the averages' power when it serves as prior: the more, the finer and noisier.
    iterations : int
        Iterations over mini-batches, before five over large ones and the pass over all particles.
    batch_per_class : int
        Particles a class in a mini-batch.
    resolution_limit : float
        Finest resolution in angstrom that images are compared to.
    angular_sampling : float
        In-plane angular step in degrees of the last pass; all angles are tried at twice that.
    offset_range : float
        Largest in-plane shift searched, in pixels of the averages' grid.
    offset_step : float
        Step of the in-plane shifts of the last pass, in pixels of the averages' grid; all are tried
        at twice that.
    class_similarity : float
        From 0 (none) to 1: part of each image that all classes share at first, so that none
        starves; it falls to 0 on the way.
    recentre : bool
        Bring the centre of mass of each average to the centre of the box.
    align : bool
        Search in-plane angles and shifts; --no-align takes them from the STAR file.
    rounds : int
        Classifications one after the other, each of the particles in classes worth keeping of the
        one before.
    check : bool
        Stop at what vitreous check calls an error.
    """

    classes: int | None = None
    mask_diameter: float | Literal["auto"] = "auto"
    tau2_fudge: float = 2.0
    iterations: int = 25
    batch_per_class: int = 20
    resolution_limit: float = 10.0
    angular_sampling: float = 6.0
    offset_range: float = 5.0
    offset_step: float = 1.0
    class_similarity: float = 0.1
    recentre: bool = True
    align: bool = True
    rounds: int = 1
    check: bool = True

    def count(self, particles: int) -> int:
        """Classes for so many particles."""
        return self.classes or min(100, max(2, particles // 50))


@dataclass(frozen=True, kw_only=True)
class _ToFolder(OfParticles):
    """What comes next on the command line.

    Attributes
    ----------
    out : Path
        Folder for the results.
    """

    out: Path


@dataclass(frozen=True, kw_only=True)
class Class2dConfig(WriteOptions, FolderOptions, Class2dOptions, _ToFolder):
    """Particles sorted among class averages, each scored as worth keeping or not."""
