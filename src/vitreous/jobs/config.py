"""The options of the search jobs: the command line and its help are made from these classes."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Literal

from vitreous.jobs.config_shared import CtfOptions, FolderOptions, OfParticles, SearchOptions


@dataclass(frozen=True, kw_only=True)
class AbinitConfig(FolderOptions, CtfOptions, SearchOptions, OfParticles):
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
    symmetry : str
        Point group imposed on the map: C1, Cn, Dn, T, O, I, I1 to I4; auto makes a map in C1,
        looks for its symmetry and, if there is any, polishes all poses under it.
    mask_diameter : float or auto
        Diameter in angstrom of the spherical mask; auto takes what the images suggest, or 85 % of
        the box where they do not tell.
    initial_resolution : float, optional
        Resolution in angstrom that the search begins at; by default 35, or 30 under T, O or I,
        whose density shows no hand before.
    final_resolution : float
        Resolution in angstrom that it ends at.
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
        Largest in-plane shift searched, in pixels of the stack.
    offset_step : float
        Step of the in-plane shifts, in pixels of the stack.
    angular_sampling : float, optional
        Angular step in degrees, taken to the nearest of 30, 15, 7.5, 3.75; by default 15 or, as
        the resolution needs it and symmetry makes it cheap, finer, and halved in the last pass.
    polish_passes : int
        Most passes over all particles, at the end, at each of the finer angular steps.
    flatten : bool
        Mask the solvent and keep density non-negative.
    noise_halflife : float
        Particles after which the inflation of the noise variance, eight-fold at first, has
        halved; -1 for none.
    write_every : int
        Iterations between checkpoints and intermediate maps.
    starts : int or auto
        Independent random starts on the same mini-batches; of more than three the weaker half is
        stopped after half of the iterations, and again after three quarters.  The one that
        explains held-out particles best is kept, and how far they agree gives the verdict.  auto
        makes six for one map, eight under T, O or I, whose density may settle in a false
        solution, and two for several classes.
    check : bool
        Stop at what ``vitreous check`` calls an error, such as inverted contrast.
    """

    out: Path
    classes: int = 1
    class_similarity: float = 0.1
    skip_anneal: bool = False
    symmetry: str = "C1"
    mask_diameter: float | Literal["auto"] = "auto"
    initial_resolution: float | None = None
    final_resolution: float = 15.0
    initial_iterations: int | None = None
    between_iterations: int | None = None
    final_iterations: int | None = None
    initial_batch: int | None = None
    final_batch: int | None = None
    offset_range: float = 6.0
    offset_step: float = 2.0
    angular_sampling: float | None = None
    polish_passes: int = 3
    flatten: bool = True
    noise_halflife: float = -1.0
    write_every: int = 10
    starts: int | Literal["auto"] = "auto"
    check: bool = True


@dataclass(frozen=True)
class SimulateConfig:
    """Particle images of a model or map, with their true poses.

    Attributes
    ----------
    model : Path
        PDB or mmCIF model, or MRC map.
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

    model: Path
    _: KW_ONLY
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
class CompareConfig:
    """Compare a map with the truth after aligning it over rotation, shift and hand.

    Attributes
    ----------
    map : Path
        The map in question, MRC.
    truth : Path
        Map or PDB/mmCIF model that it should look like.
    out : Path, optional
        Where the aligned map goes; by default beside the map, with _aligned added to its name.
    mask_diameter : float, optional
        Diameter in angstrom of the soft sphere that the FSC is computed in; by default the
        truth's extent.
    overwrite : bool
        Replace an aligned map that is there already.
    """

    map: Path
    truth: Path
    _: KW_ONLY
    out: Path | None = None
    mask_diameter: float | None = None
    overwrite: bool = False


@dataclass(frozen=True)
class DemoConfig:
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


@dataclass(frozen=True)
class CheckConfig:
    """Look at particles before a job: what is wrong with them, and what would suit them.

    Attributes
    ----------
    particles : Path
        Particle STAR file (RELION 3.0, 3.1 or 5).
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
