"""The command itself, and what all its parts share."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cyclopts import App
from rich.console import Console

from vitreous import __version__
from vitreous.jobs.folder import OnEvent

BAD_INPUT, INTERRUPTED = 2, 130
"""Exit codes."""

app = App(
    name="vitreous",
    version=__version__,
    help="Single-particle cryo-EM images to 3D maps, and whether to believe them.",
)


@contextmanager
def told(log: Path | None, append: bool = False) -> Iterator[OnEvent]:
    """Send events to the progress display and, given a path, to the log."""
    from vitreous.report.events import EventLog
    from vitreous.report.progress import ProgressDisplay

    with ProgressDisplay() as progress:
        if log is None:
            yield progress
            return
        with EventLog(log, append) as events:

            def both(event: object) -> None:
                events(event)  # type: ignore[arg-type]
                progress(event)  # type: ignore[arg-type]

            yield both


def angstrom(value: float | None) -> str:
    """A resolution as people read it."""
    return "not reached" if value is None else f"{value:.2f} A"


def finished(job: Path, *lines: str) -> None:
    """Write the report of a validation and print what it found, its warnings and its place."""
    from vitreous.report.validation import write_validation_report

    warnings = json.loads((job / "result.json").read_text())["warnings"]
    report = f"Report: {write_validation_report(job)}"
    said = [*lines, *(f"Warning: {warning}" for warning in warnings), report]
    Console().print("\n".join(said), soft_wrap=True, markup=False, highlight=False)
