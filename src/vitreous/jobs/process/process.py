"""From movies or micrographs to a refined map, by the steps that a user would take by hand."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from vitreous.config.process import ProcessConfig
from vitreous.errors import InputError, OptionError
from vitreous.jobs.micrographs.exposure_files import expanded, optics_of
from vitreous.jobs.process.changes import changes_of
from vitreous.jobs.process.ending import Unsolved, failed, judged
from vitreous.jobs.process.maps import first_map, refined_map
from vitreous.jobs.process.micrographs import Kind, kind_given, micrographs_of
from vitreous.jobs.process.rounds import best_particles
from vitreous.jobs.process.steps import Report, Steps
from vitreous.runs.command import command_of
from vitreous.runs.folder import OnEvent, ignore, job_folder
from vitreous.runs.record import job_record, write_record

_ROUND = ("pick", "extract", "class2d", "select")

_FINDINGS = ("resolution_0143", "resolution_05", "n_particles", "symmetry")
"""Of the last refinement, that are those of the whole."""


def _expected(kind: Kind) -> list[str]:
    """Steps that the road has, as far as is known before."""
    begins = ["import", *(["motion"] if kind == "movies" else []), "ctf"]
    return [*begins, *_ROUND, *_ROUND, "abinit", "refine"]


def _check(config: ProcessConfig) -> None:
    """Refuse what the steps would, before any of them.

    Raises
    ------
    OptionError
    """
    if config.diameter is not None and not config.diameter > 0:
        raise OptionError(
            f"{config.diameter:g} is not above 0", where="--diameter", hint="give angstrom"
        )
    files = expanded(config.files)
    if not files:
        raise OptionError("no files are given", hint="give movies or micrographs")
    if len(files) > 1 or files[0].suffix.lower() != ".star":
        optics_of(config)


def _through(steps: Steps, kind: Kind) -> dict[str, Any]:
    """Verdict and findings of the whole road."""
    try:
        micrographs = micrographs_of(steps, kind)
        particles = best_particles(steps, micrographs)
        first = first_map(steps, particles)
        refined = refined_map(steps, micrographs, first, particles.diameter)
    except Unsolved as ending:
        return _ended(steps, ending)
    except InputError as error:
        if not steps.done:
            raise
        return _ended(steps, Unsolved(f"A step could not be done: {error.line()}."))
    found = {name: refined.result[name] for name in _FINDINGS}
    return {
        **judged(first.result, refined.result),
        **found,
        "map": f"{refined.folder.name}/map.mrc",
        "sharpened": f"{refined.folder.name}/sharpened.mrc",
    }


def _ended(steps: Steps, ending: Unsolved) -> dict[str, Any]:
    again = f"{command_of('process', steps.config)} --resume"
    return failed(ending, again)


def _record(steps: Steps, found: dict[str, Any], began: float) -> dict[str, Any]:
    done = [
        {"job": one.job, "folder": one.folder, "outcome": steps.outcomes[one.folder],
         "command": one.command}
        for one in steps.done
    ]  # fmt: skip
    return {
        **job_record("process", steps.config),
        **found,
        "steps": done,
        "decisions": steps.decisions,
        "warnings": [],
        "timings": {"total_s": round(time.monotonic() - began, 3)},
    }


def no_report(_: Path) -> None:
    """Write no page."""


def run_process(
    config: ProcessConfig, on_event: OnEvent = ignore, *, report: Report = no_report
) -> Path:
    """Take movies or micrographs to a refined map.

    Parameters
    ----------
    config : ProcessConfig
    on_event : callable
        Is told of progress and decisions, as mappings.
    report : callable
        Writes the page of each step's folder when the step is done.

    Returns
    -------
    Path of the folder, with a folder for each step, and result.json with the verdict.

    Raises
    ------
    VitreousError
        For options or a folder that cannot be used, and files that are not there.  A step that
        leaves too little to go on with is no error: the verdict is then failed, and says why.
    """
    began = time.monotonic()
    _check(config)
    changes, kind = changes_of(config.set), kind_given(config)
    with job_folder("process", config, on_event, expanded(config.files), in_place=True) as job:
        job.tell({"event": "start", "job": "process", "kind": kind})
        steps = Steps(job, replace(config, resume=False), changes, report, _expected(kind))
        if config.resume:
            steps.load()
        found = _through(steps, kind)
        write_record(job.path, _record(steps, found, began))
        job.tell({"event": "done", "out": str(config.out)})
    return config.out
