"""From movies or micrographs to a map, in one command."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from vitreous.cli.app import angstrom, app, ran, reported, verdict_lines, warning_lines
from vitreous.config.process import ProcessConfig
from vitreous.report.terminal import print_lines


def _pages_of(folder: Path) -> None:
    """Write what each step's own command writes for the eye."""
    from vitreous.report.chimerax import write_chimerax
    from vitreous.report.html import write_report

    write_chimerax(folder)
    write_report(folder)


@app.command
def process(config: Annotated[ProcessConfig, Parameter(name="*")]) -> None:
    """Take movies or micrographs to a refined map, each step a command of its own."""
    from vitreous.jobs.process.process import run_process
    from vitreous.report.html import write_report

    job, found = ran(partial(run_process, report=_pages_of), config)
    maps = []
    if "map" in found:
        maps = [
            f"FSC 0.143: {angstrom(found['resolution_0143'])}",
            f"Maps: {job / found['map']}, {job / found['sharpened']}",
        ]
    print_lines(*verdict_lines(found), *maps, *warning_lines(found), reported(write_report, job))
