"""The page of a project: the tree of its jobs, and a table of them."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from vitreous.errors import VitreousError
from vitreous.io.atomic import write_text
from vitreous.projects.index import JobRow, jobs_of
from vitreous.projects.tree import HEIGHT, WIDTH, tree_of
from vitreous.report.html import write_report
from vitreous.report.progress import duration
from vitreous.report.rendering import Serving, page_of
from vitreous.runs.project import Project

PAGE, REPORT = "project.html", "report.html"


def time_of(row: JobRow) -> str:
    """How long a job took, in words."""
    return "" if row.seconds is None else duration(row.seconds)


def began_at(row: JobRow) -> str:
    """When a job began, to the minute (UTC)."""
    return row.began[:16].replace("T", " ")


def project_page(project: Project, rows: list[JobRow], *, served: bool = False) -> str:
    """HTML of the page.

    Parameters
    ----------
    project : Project
    rows : list of JobRow
    served : bool
        Whether vitreous serve shows it, which makes it anew by itself.
    """
    links = {
        row.folder: f"./{row.folder}/" if served else f"./{row.folder}/{REPORT}"
        for row in rows
        if served or (project.root / row.folder / REPORT).is_file()
    }
    return page_of(
        "project.html",
        title=project.name,
        tree=tree_of(rows),
        size=(WIDTH, HEIGHT),
        rows=[(row, began_at(row), time_of(row)) for row in rows],
        links=links,
        scripts=(),
        serving=Serving() if served else None,
    )


def write_project_page(project: Project) -> Path:
    """Write project.html, from what the jobs' folders tell, and reports that are missing."""
    path, rows = project.root / PAGE, jobs_of(project)
    missing = [row.folder for row in rows if not (project.root / row.folder / REPORT).is_file()]
    for folder in missing:
        with suppress(VitreousError):  # of a job whose files are gone there is no page
            write_report(project.root / folder)
    write_text(path, project_page(project, jobs_of(project) if missing else rows))
    return path
