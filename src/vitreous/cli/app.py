"""The command itself, and what all its parts share."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from cyclopts import App, Group

from vitreous import __version__
from vitreous.errors import Interrupted, OptionError
from vitreous.garbage import look_as_usual
from vitreous.report.terminal import Terminal, print_lines
from vitreous.runs.ranks import (
    count_of_ranks,
    is_first_rank,
    joined_ranks,
    own_folder,
    restarted,
)

if TYPE_CHECKING:
    from vitreous.runs.folder import OnEvent

app = App(
    name="vitreous",
    version=__version__,
    help="Single-particle cryo-EM images to 3D maps, and whether to believe them.",
    suppress_keyboard_interrupt=False,  # main() tells how to go on
    console=Terminal(),
    error_console=Terminal(stderr=True),
)


_PANELS = {
    "From movies to particles": ("process", "import", "motion", "ctf", "pick", "extract"),
    "Particles": ("check", "select", "convert", "expand-symmetry", "subtract"),
    "From particles to maps": (
        *("class2d", "abinit", "classify3d", "refine", "reconstruct", "ctf-refine"),
        *("plan", "submit"),
    ),
    "Maps": (
        *("postprocess", "local-resolution", "anisotropy", "symmetry", "compare", "model-check"),
        "deposit",
        "map",
    ),
    "Jobs and projects": (
        *("project", "rerun", "watch", "report", "serve"),
        *("clean", "archive"),
    ),
    "Beside other programs": ("external",),
    "To try things out": ("demo", "simulate"),
}
"""All commands in the order of the work."""


def arrange_commands() -> None:
    """Show the commands of the help in the order of the work, once all are defined."""
    for place, (panel, names) in enumerate(_PANELS.items()):
        group = Group(panel, sort_key=place)
        for order, name in enumerate(names):
            app[name].group, app[name].sort_key = group, order
    last = Group("Help", sort_key=len(_PANELS))
    for name in (*app.help_flags, *app.version_flags):
        app[name].group = last


Options = TypeVar("Options")


@contextmanager
def progress() -> Iterator[OnEvent]:
    """Send events to the progress display, now that the job's modules are loaded."""
    from vitreous.report.progress import ProgressDisplay

    look_as_usual()
    if not is_first_rank():
        yield lambda _: None
        return
    with ProgressDisplay() as display:
        yield display


def angstrom(value: float | None) -> str:
    """A resolution as people read it."""
    return "not reached" if value is None else f"{value:.2f} A"


def ran(run: Callable[[Options, OnEvent], Path], config: Options) -> tuple[Path, dict[str, Any]]:
    """Folder of a job, once it has run, and what its result.json tells.

    A job that several ranks share ends here on all but the first, which tells what was found.
    """
    wanted = getattr(config, "ranks", 1)
    if wanted != 1 and count_of_ranks() == 1:
        from vitreous.cli.launch import launch

        launch(wanted)
    if count_of_ranks() == 1:
        with progress() as on_event:
            job = run(config, on_event)
    else:
        job = _on_ranks(run, config)
    return job, json.loads((job / "result.json").read_text())


def _on_ranks(run: Callable[[Options, OnEvent], Path], config: Options) -> Path:
    """Folder of a job that this rank went through with the others."""
    if not hasattr(config, "ranks"):
        raise OptionError(
            "this command does not run on several ranks", hint="start it without torchrun"
        )
    with joined_ranks(), own_folder(restarted(config)) as own, progress() as on_event:
        job = run(own, on_event)
    if not is_first_rank():
        sys.exit(0)
    return job


def verdict_lines(found: Mapping[str, Any]) -> list[str]:
    """The verdict of ``result.json``, and what to do next where it is not solved."""
    lines, step = [f"Verdict: {found['verdict']}. {found['sentence']}"], found["next_step"]
    if step is not None:
        lines.append(f"Next: {step['sentence']}")
        lines += [f"  {step['command']}"] if step["command"] else []
    return lines


def warning_lines(found: Mapping[str, Any]) -> list[str]:
    """The warnings of ``result.json``."""
    return [f"Warning: {warning}" for warning in found["warnings"]]


def reported(write: Callable[[Path], Path], job: Path) -> str:
    """Write the report of a job; the line that names it.

    Raises
    ------
    Interrupted
        Which tells that the job itself had come to its end.
    """
    from vitreous.report.chimerax import write_chimerax

    try:
        write_chimerax(job)
        return f"Report: {write(job)}"
    except Interrupted as error:
        from vitreous.runs.replacement import has_checkpoint

        error.kept, error.again = job, "--resume" if has_checkpoint(job) else "--overwrite"
        raise


def finished(job: Path, found: Mapping[str, Any], *lines: str) -> None:
    """Write the report of a validation and print what it found, its warnings and its place."""
    from vitreous.report.html import write_report

    print_lines(*lines, *warning_lines(found), reported(write_report, job))
