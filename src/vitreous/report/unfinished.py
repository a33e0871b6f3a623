"""The page of a job that has not come to its end: at work, interrupted, failed or stopped."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from vitreous.report import charts, curves, page
from vitreous.report.job_state import FAILED, FINISHED, INTERRUPTED, RUNNING, STOPPED, JobState
from vitreous.report.progress import duration
from vitreous.report.record import iterations_by_start, passes_of
from vitreous.report.report_page import Facts, ReportPage
from vitreous.report.road import so_far

_TITLES = {
    RUNNING: "At work",
    INTERRUPTED: "Interrupted",
    FAILED: "Failed",
    STOPPED: "Stopped without a word: the process was killed, or the machine went down",
}

_CURVES = (
    ("resolution", "Resolution", "Å"),
    ("log_likelihood", "Fit to the images", "log-likelihood"),
    ("posterior_of_best", "Certainty of the poses", "probability"),
    ("change", "Change of the map", "relative change"),
)


def _runs(state: JobState) -> list[dict[str, object]]:
    """Events of the passes, or of the iterations of the last start."""
    passes = passes_of(state.current)
    starts = iterations_by_start(state.current)
    return passes or (starts[max(starts)] if starts else [])


def _cards(state: JobState) -> Iterator[str]:
    runs = _runs(state)
    for field, title, label in _CURVES:
        found = [(n, e[field]) for n, e in enumerate(runs, 1) if isinstance(e.get(field), float)]
        if len(found) > 1:
            line = ("", [n for n, _ in found], [float(str(value)) for _, value in found])
            alt = f"{title} over {len(found)} passes"
            yield page.card(title, page.figure(charts.over_passes([line], label, alt), ""))
    shares = [event["class_fractions"] for event in runs if event.get("class_fractions")]
    widths = {len(np.atleast_1d(np.array(share))) for share in shares}
    if len(shares) > 1 and len(widths) == 1 and max(widths) > 1:
        table = np.array(shares, dtype=float).T
        picture = charts.stacked_shares(table, "pass", "Share of the particles in each class")
        yield page.card("Classes", page.figure(picture, ""))
    fsc, width = state.last("fsc"), state.last("field")
    if fsc and width:
        values = np.array(fsc, dtype=float)
        frequency = np.arange(len(values)) / float(width)
        picture = curves.fsc_chart(frequency, [("corrected", values)], "FSC of the halves")
        yield page.card(
            "Do the halves agree?", page.figure(picture, "After the last pass."), wide=True
        )


def state_facts(state: JobState) -> Facts:
    """Where the job is, and the time that it took and still takes."""
    facts: Facts = [("State", state.state, "")]
    if state.reckoned is not None and state.state != FINISHED:
        step = state.reckoned.step
        facts.append(("Stage", step.words or step.stage, step.count))
        facts.append(("Done", f"{state.reckoned.share:.0%}", ""))
    if state.left is not None:
        facts.append(("Time left", duration(state.left), ""))
    if state.seconds is not None:
        facts.append(("Time", duration(state.seconds), "so far" if state.state == RUNNING else ""))
    resolution = state.last("resolution")
    if isinstance(resolution, int | float):
        facts.append(("Resolution", f"{resolution:.1f} Å", "in the last pass"))
    return facts


def _next(state: JobState) -> str:
    if state.state == RUNNING:
        return "This page shows the job as it was when the page was made: vitreous watch goes on."
    if state.can_resume:
        return "A checkpoint is there: the job goes on with the same command and --resume."
    return "No checkpoint is there: run the job again, with --overwrite."


def unfinished_page(state: JobState) -> ReportPage:
    """What is to be seen of the job so far."""
    error = state.result.get("error")
    title = _TITLES.get(state.state, state.state.capitalize())
    cards = list(_cards(state))
    told = [page.paragraph(_next(state)), *([page.command(str(error))] if error else [])]
    sections = [page.section("What became of it", *told)] if state.state != RUNNING else []
    if cards:
        sections.append(page.section("So far", page.cards(cards)))
    sections += so_far(state.events)
    lead = _next(state) if state.state == RUNNING else ""
    return ReportPage(title, state_facts(state), sections, {}, lead=lead)
