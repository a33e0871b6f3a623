"""The options of what makes particles of a known model."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Literal

from vitreous.config.shared import DeviceOptions, JobOptions, ThreadOptions, WriteOptions


@dataclass(frozen=True)
class _Model(JobOptions):
    """What comes first on the command line.

    Attributes
    ----------
    model : Path
        PDB or mmCIF model, or MRC map.
    """

    model: Path


@dataclass(frozen=True, kw_only=True)
class SimulateConfig(WriteOptions, DeviceOptions, _Model):
    """Particle images of a model or map, with their true poses.

    Attributes
    ----------
    out : Path
        Folder for particles.star, particles.mrcs and truth.mrc.
    n : int
        Number of particles.
    box : int, optional
        Box in pixels; by default 1.5 times the model's diameter, or the map's own.
    pixel_size : float, optional
        Angstrom; by default 4 for a model, the map's own for a map.
    snr : float
        Mean variance of the noise-free images over that of the noise.
    defocus_range : tuple of float
        Least and greatest defocus, angstrom.
    astigmatism : float
        Difference between the two defoci, angstrom.
    shift : float
        Largest shift along x and y, pixels.
    views : str
        uniform, or preferred: most particles within 15 degrees of the z axis.
    voltage : float
        kV.
    cs : float
        Spherical aberration, mm.
    amplitude_contrast : float
        Fraction of amplitude contrast.
    seed : int
        Seed of every random choice.
    overwrite : bool
        Replace what a former job left in the folder.
    """

    out: Path
    n: int = 3000
    box: int | None = None
    pixel_size: float | None = None
    snr: float = 0.1
    defocus_range: tuple[float, float] = (8000.0, 25000.0)
    astigmatism: float = 200.0
    shift: float = 3.0
    views: Literal["uniform", "preferred"] = "uniform"
    voltage: float = 300.0
    cs: float = 2.7
    amplitude_contrast: float = 0.1
    seed: int = 0
    overwrite: bool = False


@dataclass(frozen=True)
class DemoConfig(ThreadOptions):
    """Simulate a small data set, reconstruct it and compare the map with the truth.

    Attributes
    ----------
    out : Path
        Folder for everything.
    seed : int
        Seed of every random choice.
    overwrite : bool
        Replace what a former demonstration left in the folder.
    """

    _: KW_ONLY
    out: Path = Path("vitreous-demo")
    seed: int = 0
    overwrite: bool = False
