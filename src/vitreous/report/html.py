"""The report of any job: one page that needs no network and explains its own pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from vitreous.io.atomic import write_text
from vitreous.report.abinit import abinit_page
from vitreous.report.classes import classes_page
from vitreous.report.gallery import gallery_page
from vitreous.report.job_page import render
from vitreous.report.job_state import FINISHED, state_of
from vitreous.report.record import Record, read_record
from vitreous.report.refine import refine_page
from vitreous.report.report_page import ReportPage, Result
from vitreous.report.unfinished import unfinished_page
from vitreous.report.validation import PAGES

_SEARCHES: dict[str, tuple[str, Callable[[Record], ReportPage]]] = {
    "abinit": ("ab initio reconstruction", abinit_page),
    "classify3d": ("3D classification", classes_page),
    "refine": ("refinement", refine_page),
}
"""Pages that tell of the particles' poses and of a log, too."""


_CLASS2D = "2D classification"


def _kind(job: str) -> str:
    """A job in words."""
    if job == "class2d":
        return _CLASS2D
    return {**_SEARCHES, **PAGES}[job][0] if job in _SEARCHES or job in PAGES else job


def _other_page(result: Result) -> ReportPage:
    """Page of a job that has no pictures of its own."""
    return ReportPage(f"vitreous {result.get('job', 'job')}: done", [], [], {})


def build_page(folder: Path) -> str:
    """HTML of the report of the job in a folder, whatever has become of it."""
    state = state_of(folder)
    result, job = state.result, state.job
    if state.state != FINISHED:
        return render(state.folder, result, _kind(job), unfinished_page(state))
    if job in _SEARCHES:
        kind, tell_search = _SEARCHES[job]
        return render(folder, result, kind, tell_search(read_record(folder)))
    if job == "class2d":
        return render(folder, result, _CLASS2D, gallery_page(folder, result))
    if job in PAGES:
        kind, tell = PAGES[job]
        return render(folder, result, kind, tell(folder, result))
    return render(folder, result, job, _other_page(result))


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
