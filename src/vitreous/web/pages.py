"""Pages as they are served: made when asked for, at most once a second each."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from threading import Lock

from vitreous.projects.index import jobs_of
from vitreous.projects.page import project_page
from vitreous.report.html import build_page
from vitreous.report.job_state import FINISHED, RUNNING, state_of
from vitreous.report.live import live_page
from vitreous.runs.project import Project

_FRESH = 1.0
"""Seconds that a page is shown again before it is made anew."""


class Pages:
    """A project's pages.

    Parameters
    ----------
    project : Project
    allow_jobs : bool
        Show buttons that stop jobs and go on with them.
    """

    def __init__(self, project: Project, *, allow_jobs: bool):
        self._project, self._allow_jobs = project, allow_jobs
        self._kept: dict[str, tuple[float, bytes]] = {}
        self._lock = Lock()

    def _recent(self, name: str, make: Callable[[], str]) -> bytes:
        with self._lock:
            made, page = self._kept.get(name, (0.0, b""))
            if not page or time.monotonic() - made > _FRESH:
                page = make().encode()
                self._kept[name] = time.monotonic(), page
            return page

    def project(self) -> bytes:
        """The tree of jobs."""

        def make() -> str:
            return project_page(self._project, jobs_of(self._project, keep=False), served=True)

        return self._recent("", make)

    def job(self, folder: Path) -> bytes:
        """A job's report, or how it stands.

        Raises
        ------
        InputError
            If no job wrote to the folder.
        """

        def make() -> str:
            state = state_of(folder)
            if state.state != FINISHED:
                return live_page(state, self._actions(state.state, state.can_resume))
            report = folder / "report.html"
            return report.read_text(encoding="utf-8") if report.is_file() else build_page(folder)

        return self._recent(folder.name, make)

    def _actions(self, state: str, can_resume: bool) -> list[tuple[str, str]]:
        """Last part of an action's address, and what its button says."""
        if not self._allow_jobs:
            return []
        if state == RUNNING:
            return [("stop", "Stop this job")]
        return [("resume", "Go on with this job")] if can_resume else []
