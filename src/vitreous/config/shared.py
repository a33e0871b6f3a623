"""Options that several jobs have: their configuration classes inherit them, words and all.

Annotations are evaluated here: those postponed would be looked up in the inheriting class's module.
"""

from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_type_hints

from cyclopts import Group, Parameter

_CTF = Parameter(group=Group("Contrast transfer", sort_key=1))
_RUN = Parameter(group=Group("Run", sort_key=2))


def _has_path(hint: Any) -> bool:
    return hint is Path or any(_has_path(part) for part in get_args(hint))


def _as_path(value: Any) -> Any:
    if isinstance(value, str):
        return Path(value)
    return tuple(_as_path(v) for v in value) if isinstance(value, (tuple, list)) else value


@dataclass(frozen=True, kw_only=True)
class JobOptions:
    """What every configuration can do: it takes text wherever a path belongs."""

    def __post_init__(self) -> None:
        """Make paths of text."""
        for name, hint in get_type_hints(type(self)).items():
            if _has_path(hint):
                object.__setattr__(self, name, _as_path(getattr(self, name)))


@dataclass(frozen=True, kw_only=True)
class ThreadOptions(JobOptions):
    """How many cores a job uses.

    Attributes
    ----------
    threads : int, optional
        Cores to use; by default as many as PyTorch finds, which OMP_NUM_THREADS limits.
    """

    threads: Annotated[int | None, _RUN] = None


@dataclass(frozen=True, kw_only=True)
class DeviceOptions(ThreadOptions):
    """Where a job is computed.

    Attributes
    ----------
    device : str
        cpu, cuda, cuda:1 and so on; auto takes a GPU where there is one.
    """

    device: Annotated[str, _RUN] = "auto"


@dataclass(frozen=True, kw_only=True)
class WriteOptions:
    """What particles are written as.

    Attributes
    ----------
    write : str
        star writes a STAR file for RELION; star,cs a .cs file for cryoSPARC beside it.
    """

    write: Annotated[Literal["star", "star,cs"], _RUN] = "star"


@dataclass(frozen=True)
class OfParticles(JobOptions):
    """What comes first on the command line: it must be the last base of a configuration.

    Attributes
    ----------
    particles : Path
        Particles: a STAR file (RELION 3.0, 3.1 or 5), a .cs or .csg file (cryoSPARC), or a job's
        folder, which stands for its last iteration.  What a cryoSPARC job passed through is read
        from the file beside it.
    """

    particles: Path


@dataclass(frozen=True)
class OfChosenParticles(JobOptions):
    """What comes first on the command line, or what takes its place: the last base, as above.

    Attributes
    ----------
    particles : Path, optional
        Particles: a STAR file (RELION 3.0, 3.1 or 5), a .cs or .csg file (cryoSPARC), or a job's
        folder, which stands for its last iteration.  What a cryoSPARC job passed through is read
        from the file beside it.
    classes2d : Path, optional
        Folder of vitreous class2d in the place of particles: those of its classes that vitreous
        select --auto keeps are used.
    """

    particles: Path | None = None
    _: KW_ONLY
    classes2d: Path | None = None

    @property
    def source(self) -> Path:
        """File or folder that the particles come from."""
        return self.particles or self.classes2d or Path()


@dataclass(frozen=True, kw_only=True)
class CtfOptions:
    """What the images' contrast transfer functions are taken to be.

    Attributes
    ----------
    ctf : bool
        Correct for the contrast transfer function.
    phase_flipped : bool
        The images' phases were flipped already.
    ignore_ctf_until_first_peak : bool
        Take the CTF as one up to its first maximum.
    """

    ctf: Annotated[bool, _CTF] = True
    phase_flipped: Annotated[bool, _CTF] = False
    ignore_ctf_until_first_peak: Annotated[bool, _CTF] = False


@dataclass(frozen=True, kw_only=True)
class RankOptions:
    """How many processes share a job.

    Attributes
    ----------
    ranks : int
        Processes that share the particles out among them, each with its share of the cores, or a
        GPU of its own; torchrun starts them on several machines.
    """

    ranks: Annotated[int, _RUN] = 1


@dataclass(frozen=True, kw_only=True)
class RunOptions(RankOptions, DeviceOptions):
    """Where a job is computed, and what from.

    Attributes
    ----------
    seed : int
        Seed of every random choice.
    memory : float, optional
        Most memory in GB that the job may take; by default what is free, less a tenth.  Images
        that it does not hold are read again whenever they are needed.
    scratch : Path, optional
        Folder on a fast disk for a file with images that memory does not hold, ready to be used.
    """

    seed: Annotated[int, _RUN] = 0
    memory: Annotated[float | None, _RUN] = None
    scratch: Annotated[Path | None, _RUN] = None


@dataclass(frozen=True, kw_only=True)
class SearchOptions(RunOptions):
    """Where a search is computed, and how exactly.

    Attributes
    ----------
    precision : str
        Number format of the search's large products: float32, bfloat16, or auto, which takes
        bfloat16 where the device multiplies it in hardware.  Sums are kept in float32.
    """

    precision: Annotated[Literal["auto", "float32", "bfloat16"], _RUN] = "auto"


@dataclass(frozen=True, kw_only=True)
class FolderOptions:
    """What becomes of a folder that exists.

    Attributes
    ----------
    overwrite : bool
        Replace what a former job left in the folder.
    resume : bool
        Go on with an interrupted job in the folder.
    """

    overwrite: Annotated[bool, _RUN] = False
    resume: Annotated[bool, _RUN] = False


@dataclass(frozen=True, kw_only=True)
class WorkerOptions(FolderOptions):
    """How many micrographs are worked on at a time, and what becomes of a folder that exists.

    Attributes
    ----------
    workers : int, optional
        Processes, each with a micrograph and a core of its own; by default as many as there are
        cores, or as fit in memory.
    """

    workers: Annotated[int | None, _RUN] = None


@dataclass(frozen=True, kw_only=True)
class MicrographOptions(WorkerOptions):
    """How micrographs are shared out, and what becomes of a folder that exists.

    Attributes
    ----------
    ranks : int
        Processes that share the micrographs out among them, each with workers and a share of the
        cores of its own; torchrun starts them on several machines.
    """

    ranks: Annotated[int, _RUN] = 1
