"""The options of what looks after jobs and projects."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from pathlib import Path

from vitreous.config.shared import JobOptions


@dataclass(frozen=True)
class ReportConfig(JobOptions):
    """Make the page of any job anew, also of one that is at work or was interrupted.

    Attributes
    ----------
    job : Path
        Folder of the job, or its number in a project.
    """

    job: Path


@dataclass(frozen=True)
class WatchConfig(JobOptions):
    """Watch a job in the terminal until it ends; Ctrl-C ends the watching, not the job.

    Attributes
    ----------
    job : Path
        Folder of the job, or its number in a project.
    once : bool
        Show how it stands now, and end.
    every : float
        Seconds between two looks.
    """

    job: Path
    _: KW_ONLY
    once: bool = False
    every: float = 2.0


@dataclass(frozen=True)
class ServeConfig(JobOptions):
    """Show a project, and its jobs as they go, in the browser of this machine.

    Attributes
    ----------
    project : Path
        Folder of the project; by default the one that this folder lies in.
    port : int
        Of 127.0.0.1, the only address that is listened at; 0 takes any that is free.
    allow_jobs : bool
        Let the pages stop jobs and go on with them.
    """

    project: Path = Path()
    _: KW_ONLY
    port: int = 8642
    allow_jobs: bool = False


@dataclass(frozen=True)
class RerunConfig(JobOptions):
    """Run a job again in a new folder, with some options changed.

    Attributes
    ----------
    job : str
        Number or folder of the job.
    set : tuple of str
        Options to change, such as symmetry=C2 or seed=1; none takes an option back.
    out : Path, optional
        Folder for the results; by default the next of the project, or one beside the job's.
    dry_run : bool
        Print the command, and run nothing.
    """

    job: str
    _: KW_ONLY
    set: tuple[str, ...] = ()
    out: Path | None = None
    dry_run: bool = False


@dataclass(frozen=True)
class CleanConfig(JobOptions):
    """Remove what finished jobs no longer need: checkpoints, and maps of their iterations.

    Attributes
    ----------
    jobs : tuple of str
        Numbers or folders; by default all finished jobs of the project.
    dry_run : bool
        Tell what would be removed, and remove nothing.
    """

    jobs: tuple[str, ...] = ()
    _: KW_ONLY
    dry_run: bool = False


@dataclass(frozen=True)
class ArchiveConfig(JobOptions):
    """Put jobs of a project away in compressed archives; their pages and records stay.

    Attributes
    ----------
    jobs : tuple of str
        Numbers or folders.
    restore : bool
        Bring their files back.
    """

    jobs: tuple[str, ...]
    _: KW_ONLY
    restore: bool = False
