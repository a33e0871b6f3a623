"""A command run as an External job of RELION: its options, and what RELION looks for afterwards.

RELION starts ``EXECUTABLE --o External/jobNNN/ --in_parts FILE --in_3dref FILE --in_mask FILE
--NAME VALUE ... --j THREADS`` from the project's root; in the job's folder it waits for
RELION_JOB_EXIT_SUCCESS or one of its kin, and reads the outputs from RELION_OUTPUT_NODES.star.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import polars as pl

from vitreous.errors import OptionError
from vitreous.io.star import StarBlock, write_star
from vitreous.particles.relion.names import JOB, JOB_OPTION, NODE

Ending = Literal["SUCCESS", "FAILURE", "ABORTED"]

_TRUE, _FALSE = ("true", "yes"), ("false", "no")

_FIRST = {"in_parts": "", "in_3dref": "--reference", "in_mask": "--mask", "j": "--threads"}
"""Options of ours for those of RELION's form; the particles come without one."""

_IGNORED = ("pipeline_control", "in_mov", "in_mic", "in_coords")

_NODES = {
    "particles.star": ("ParticlesData.star.relion", 3),
    "map.mrc": ("DensityMap.mrc", 6),
    "class???.mrc": ("DensityMap.mrc", 6),
    "mask.mrc": ("Mask3D.mrc", 7),
    "half1.mrc": ("DensityMap.mrc.halfmap", 10),
    "half2.mrc": ("DensityMap.mrc.halfmap", 10),
}
"""Outputs, with the labels (RELION 4 and 5) and numbers (3.1) of their kinds."""


@dataclass(frozen=True)
class ExternalJob:
    """A command as RELION asked for it.

    Attributes
    ----------
    folder : Path
        The job's, which RELION made.
    results : Path
        Folder in it for what the command writes.
    arguments : tuple of str
        Of ``vitreous``.
    """

    folder: Path
    results: Path
    arguments: tuple[str, ...]


def _pairs(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Names and values; a name that another follows has an empty value."""
    for place, word in enumerate(words):
        if word.startswith("--") and not word[2:3].isdigit():
            following = words[place + 1] if place + 1 < len(words) else "--"
            yield word[2:], "" if following.startswith("--") else following


def _option(name: str, value: str) -> list[str]:
    """One of our options for one of RELION's form."""
    plain = _FIRST.get(name, f"--{name.replace('_', '-')}")
    if value.casefold() in _TRUE or not value:
        return [plain]
    if value.casefold() in _FALSE:
        return [f"--no-{plain[2:]}"]
    return [plain, value]


def external_job(command: str, words: Sequence[str]) -> ExternalJob:
    """The command line of ``vitreous`` for what RELION's form was filled in with.

    Raises
    ------
    OptionError
        Without the job's folder.
    """
    pairs = dict(_pairs(words))
    if not pairs.get("o"):
        raise OptionError(
            "RELION names the job's folder with --o, which is missing",
            where=f"vitreous external {command}",
            hint="start it as the executable of an External job, or add --o External/jobNNN/",
        )
    folder = Path(pairs.pop("o"))
    particles = [pairs.pop("in_parts")] if pairs.get("in_parts") else []
    rest = {name: value for name, value in pairs.items() if name not in _IGNORED}
    options = [word for name, value in rest.items() for word in _option(name, value)]
    results = folder / command
    return ExternalJob(folder, results, (command, *particles, "--out", str(results), *options))


def _found(results: Path) -> Mapping[Path, tuple[str, int]]:
    return {path: kind for name, kind in _NODES.items() for path in sorted(results.glob(name))}


def end_external(job: ExternalJob, ending: Ending) -> None:
    """Tell RELION how a job ended, and which files it left."""
    for old in job.folder.glob("RELION_JOB_EXIT_*"):
        old.unlink()
    nodes = _found(job.results) if ending == "SUCCESS" else {}
    if nodes:
        frame = pl.DataFrame(
            dict(
                zip(
                    NODE,
                    (
                        [str(path) for path in nodes],
                        [label for label, _ in nodes.values()],
                        [str(number) for _, number in nodes.values()],
                    ),
                    strict=True,
                )
            )
        )
        write_star(job.folder / "RELION_OUTPUT_NODES.star", [StarBlock("output_nodes", frame)])
    job.folder.mkdir(parents=True, exist_ok=True)
    (job.folder / f"RELION_JOB_EXIT_{ending}").touch()


def describe_external(job: ExternalJob) -> None:
    """Write ``job.star`` where RELION has not done so: its form shows the job by it."""
    path = job.folder / "job.star"
    if path.exists():
        return
    values = {"fn_exe": f"vitreous external {job.arguments[0]}", "do_queue": "No"}
    about = pl.DataFrame(dict(zip(JOB, ["relion.external", "0", "0"], strict=True)))
    options = pl.DataFrame(
        dict(zip(JOB_OPTION, [list(values), list(values.values())], strict=True))
    )
    write_star(
        path,
        [StarBlock("job", about, is_loop=False), StarBlock("joboptions_values", options)],
    )


def _by_itself(arguments: Sequence[str]) -> None:
    """Run a command of ``vitreous`` in a process of its own."""
    subprocess.run([sys.executable, "-m", "vitreous", *arguments], check=True)


def run_external(
    command: str, words: Sequence[str], run: Callable[[Sequence[str]], None] = _by_itself
) -> ExternalJob:
    """Run a command as an External job of RELION, and tell RELION how it ended.

    Parameters
    ----------
    command : str
        Of ``vitreous``.
    words : sequence of str
        What RELION passes: ``--o External/jobNNN/ --in_parts FILE`` and so on.
    run : callable
        Runs the command line of ``vitreous`` that it is given.

    Raises
    ------
    OptionError
        Without the job's folder; else whatever the command raises.
    """
    job = external_job(command, words)
    describe_external(job)
    ending: Ending = "FAILURE"
    try:
        run(job.arguments)
        ending = "SUCCESS"
    except KeyboardInterrupt:
        ending = "ABORTED"
        raise
    except SystemExit as error:
        ending = "FAILURE" if error.code else "SUCCESS"
        raise
    finally:
        end_external(job, ending)
    return job
