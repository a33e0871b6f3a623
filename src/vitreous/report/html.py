"""The report of any job: one page that needs no network and explains its own pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from vitreous.io.atomic import write_text
from vitreous.report import validation
from vitreous.report.abinit import abinit_page
from vitreous.report.classes import classes_page
from vitreous.report.job_page import render
from vitreous.report.job_state import FINISHED, state_of
from vitreous.report.process import process_page
from vitreous.report.record import Record, read_record
from vitreous.report.refine import refine_page
from vitreous.report.report_page import ReportPage, Result
from vitreous.report.unfinished import unfinished_page

SEARCHES: dict[str, tuple[str, Callable[[Record], ReportPage]]] = {
    "abinit": ("ab initio reconstruction", abinit_page),
    "classify3d": ("3D classification", classes_page),
    "refine": ("refinement", refine_page),
}
"""Pages that tell of the particles' poses and of a log, too."""

PAGES = {**validation.PAGES, "process": ("from micrographs to a map", process_page)}
"""Pages that tell of a folder's files and record."""


def _kind(job: str) -> str:
    """A job in words."""
    return {**SEARCHES, **PAGES}[job][0] if job in SEARCHES or job in PAGES else job


def _other_page(result: Result) -> ReportPage:
    """Page of a job that has no pictures of its own."""
    return ReportPage(f"vitreous {result.get('job', 'job')}: done", [], [], {})


def _story(folder: Path, result: Result, job: str) -> ReportPage:
    """What is particular to the page of a job that has finished."""
    if job in SEARCHES:
        return SEARCHES[job][1](read_record(folder))
    return PAGES[job][1](folder, result) if job in PAGES else _other_page(result)


def build_page(folder: Path) -> str:
    """HTML of the report of the job in a folder, whatever has become of it."""
    state = state_of(folder)
    if state.state != FINISHED:
        return render(state.folder, state.result, _kind(state.job), unfinished_page(state))
    story = _story(folder, state.result, state.job)
    return render(folder, state.result, _kind(state.job), story)


def write_report(job_dir: Path) -> Path:
    """Write ``report.html`` into a job's folder.

    Parameters
    ----------
    job_dir : Path
        Holds result.json or log.jsonl, and as far as there are any particles.star and the maps.

    Returns
    -------
    Path of the page.

    Raises
    ------
    InputError
        If ``result.json`` or a map that the page needs is missing or broken.
    """
    path = Path(job_dir) / "report.html"
    write_text(path, build_page(Path(job_dir)))
    return path
