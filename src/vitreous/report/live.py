"""The page of a job that is not done, as ``vitreous serve`` shows it: it makes itself anew."""

from __future__ import annotations

from collections.abc import Sequence

from vitreous.report.job_page import render
from vitreous.report.job_state import JobState
from vitreous.report.rendering import Serving
from vitreous.report.unfinished import unfinished_page


def live_page(state: JobState, actions: Sequence[tuple[str, str]]) -> str:
    """HTML of the page.

    Parameters
    ----------
    state : JobState
    actions : sequence of (str, str)
        Address and name of what its buttons do.
    """
    serving = Serving(tuple(actions))
    return render(state.folder, state.result, state.job, unfinished_page(state), serving)
