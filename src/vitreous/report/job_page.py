"""What the pages of all jobs share: files, settings, versions, seed, the command to repeat."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from vitreous.config.jobs import configurations
from vitreous.report.job_files import job_files
from vitreous.report.progress import duration
from vitreous.report.rendering import Serving, page_of
from vitreous.report.report_page import ReportPage, Result
from vitreous.runs.command import shell_command

SCRIPTS = ("viewer.js", "slices.js", "gallery.js", "page.js")


def command_line(result: Result) -> str:
    """The command that was recorded, or else one of the options that differ from the defaults."""
    given = result.get("command")
    if isinstance(given, list) and given:
        return shlex.join([Path(str(given[0])).name, *map(str, given[1:])])
    job = str(result.get("job", ""))
    return shell_command(job, result.get("options") or {}, configurations().get(job))


def seed_of(result: Result) -> Any:
    """The seed, recorded by itself or among the options; None for a job without chance."""
    return result.get("seed", (result.get("options") or {}).get("seed"))


def _cite(result: Result) -> str:
    seed = seed_of(result)
    named = f"vitreous {result.get('version', '')}, job {result.get('job', '')}"
    if seed is None:
        return f"To cite it: {named}."
    return (
        f"To cite it: {named}, seed {seed}. The same command with the same seed on the same "
        "machine gives the same maps."
    )


def _table_of(records: Iterable[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Header and rows of records that may lack some of the columns."""
    records = list(records)
    header = list(dict.fromkeys(name for record in records for name in record))
    return {"header": header, "rows": [[one.get(name) for name in header] for one in records]}


def _timings(result: Result) -> dict[str, str]:
    return {
        name.removesuffix("_s").replace("_", " "): duration(seconds)
        for name, seconds in (result.get("timings") or {}).items()
        if seconds is not None
    }


def render(
    folder: Path, result: Result, kind: str, story: ReportPage, serving: Serving | None = None
) -> str:
    """HTML of a job's page.

    Parameters
    ----------
    folder : Path
        The job's.
    result : dict
        ``result.json``.
    kind : str
        What the job is called in words.
    story : ReportPage
        What is particular to it.
    serving : Serving, optional
        How it is served; by default it is a file.
    """
    files, more = job_files(folder, story.files)
    given = dict(result.get("input") or {})
    groups = given.get("optics_groups")
    optics = _table_of(given.pop("optics_groups") if isinstance(groups, list) else [])
    versions = {
        "vitreous": result.get("version"),
        **(result.get("versions") or {}),
        "device": result.get("device"),
        "seed": seed_of(result),
    }
    return page_of(
        "job.html",
        kind=kind,
        version=result.get("version", ""),
        title=story.title,
        lead=story.lead,
        warnings=[str(warning) for warning in result.get("warnings") or []],
        facts=story.facts,
        sections=[Markup(section) for section in story.sections],
        files=files,
        more_files=more,
        command=command_line(result),
        cite=_cite(result),
        settings=result.get("options") or {},
        input=given,
        optics=optics,
        timings=_timings(result),
        versions=versions,
        scripts=SCRIPTS,
        serving=serving,
    )
