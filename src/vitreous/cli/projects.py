"""Jobs and projects looked after: pages, watching, listing, running again, tidying."""

from __future__ import annotations

from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from rich.table import Table

from vitreous.cli.app import app, reported
from vitreous.config.jobs import configurations
from vitreous.config.projects import (
    ArchiveConfig,
    CleanConfig,
    ReportConfig,
    RerunConfig,
    ServeConfig,
    WatchConfig,
)
from vitreous.report.terminal import print_lines, print_view

projects = App(
    name="project",
    help="List the jobs of the project that this folder lies in, and draw which came from which.",
)
app.command(projects)

_IN_A_FILE = {"select": "particles.star"}
"""Jobs whose result is a file: what it is called in a numbered folder."""


_FILES_ONLY = ("expand-symmetry",)
"""Jobs that leave no record of themselves, and so have no place in a project's list."""


def with_folder(words: list[str]) -> list[str]:
    """Words of a command, in a project with the next numbered folder where --out is left out."""
    from vitreous.runs.project import new_folder, project_of

    job = words[0] if words else ""
    kind = configurations().get(job)
    named = any(word == "--out" or word.startswith("--out=") for word in words)
    asks = {"--help", "-h"} & set(words)
    out = None if kind is None else next((f for f in fields(kind) if f.name == "out"), None)
    required = out is not None and out.default is MISSING
    if not required or named or asks or job in _FILES_ONLY:
        return words
    project = project_of(Path.cwd())
    if project is None:
        return words
    folder = new_folder(project, job)
    target = folder / _IN_A_FILE[job] if job in _IN_A_FILE else folder
    place = target.relative_to(Path.cwd()) if target.is_relative_to(Path.cwd()) else target
    return [*words, "--out", str(place)]


def drop_if_empty(words: list[str]) -> None:
    """Take back a numbered folder that nothing came to lie in."""
    out = Path(words[-1])
    folder = out.parent if out.suffix else out
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _job(given: Path) -> Path:
    """Folder of a job that may be called by its number in a project."""
    from vitreous.runs.project import job_named, project_of

    project = None if given.is_dir() else project_of(Path.cwd())
    return given if project is None else job_named(project, str(given))


@app.command
def report(config: Annotated[ReportConfig, Parameter(name="*")]) -> None:
    """Make the page of any job anew, also of one that is at work or was interrupted."""
    from vitreous.report.html import write_report

    print_lines(reported(write_report, _job(config.job)))


@app.command
def watch(config: Annotated[WatchConfig, Parameter(name="*")]) -> None:
    """Watch a job in the terminal until it ends; Ctrl-C ends the watching, not the job."""
    from vitreous.report.watch import watch_job

    watch_job(replace(config, job=_job(config.job)))


@app.command
def serve(config: Annotated[ServeConfig | None, Parameter(name="*")] = None) -> None:
    """Show a project, and its jobs as they go, in the browser of this machine."""
    from vitreous.web.server import serve_project

    serve_project(config or ServeConfig())


@projects.command
def init(folder: Path = Path(), *, name: str | None = None) -> None:
    """Make a project of a folder: jobs started in it without --out get numbered folders.

    Parameters
    ----------
    folder : Path
        By default the one you are in.
    name : str, optional
        By default the folder's.
    """
    from vitreous.runs.project import init_project

    made = init_project(folder, name)
    print_lines(f"Project {made.name}: {made.root}")


@projects.default
def listing() -> None:
    """List the jobs of the project that this folder lies in, and draw which came from which."""
    from vitreous.projects.index import jobs_of
    from vitreous.projects.page import began_at, time_of, write_project_page
    from vitreous.runs.project import the_project

    project = the_project(Path.cwd())
    table = Table(title=project.name)
    for name in ("job", "state", "result", "began (UTC)", "time", "from"):
        table.add_column(name, no_wrap=name in ("job", "state", "time"), overflow="fold")
    for row in jobs_of(project):
        cells = (row.folder, row.state, row.headline, began_at(row), time_of(row))
        table.add_row(*cells, ", ".join(parent.partition("_")[0] for parent in row.parents))
    print_view(table)
    print_lines(f"Page: {write_project_page(project)}")


@app.command
def rerun(config: Annotated[RerunConfig, Parameter(name="*")]) -> None:
    """Run a job again in a new folder, with some options changed."""
    import shlex

    from vitreous.projects.rerun import rerun_words

    words = rerun_words(_job(Path(config.job)), config.set, config.out)
    print_lines(shlex.join(["vitreous", *words]))
    if config.dry_run:
        drop_if_empty(words)
    else:
        app(words)


@app.command
def clean(config: Annotated[CleanConfig | None, Parameter(name="*")] = None) -> None:
    """Remove what finished jobs no longer need: checkpoints, and maps of their iterations."""
    from vitreous.projects.index import jobs_of
    from vitreous.projects.tidy import clean as cleaned
    from vitreous.report.job_files import size_in_words
    from vitreous.runs.project import job_named, the_project

    config = config or CleanConfig()
    project = the_project(Path.cwd())
    jobs = [job_named(project, word) for word in config.jobs]
    if not config.jobs:
        rows = jobs_of(project)
        jobs = [project.root / row.folder for row in rows if row.state == "finished"]
    freed = [cleaned(job, dry_run=config.dry_run) for job in jobs]
    did = "would free" if config.dry_run else "freed"
    print_lines(
        *(f"{f.folder.name}: {len(f.files)} files, {size_in_words(f.size)}" for f in freed),
        f"In all {did} {size_in_words(sum(f.size for f in freed))}",
    )


@app.command
def archive(config: Annotated[ArchiveConfig, Parameter(name="*")]) -> None:
    """Put jobs of a project away in compressed archives; their pages and records stay."""
    from vitreous.projects import tidy
    from vitreous.runs.project import job_named, the_project

    project = the_project(Path.cwd())
    for word in config.jobs:
        job = job_named(project, word)
        place = tidy.restore(job) if config.restore else tidy.archive(project, job)
        print_lines(f"{job.name}: {place}")
