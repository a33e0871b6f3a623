"""From movies to micrographs."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from vitreous.cli.app import app, finished, progress, ran
from vitreous.config.movies import ImportConfig, MotionConfig
from vitreous.report.terminal import print_lines


@app.command(name="import")
def import_data(config: Annotated[ImportConfig, Parameter(name="*")]) -> None:
    """Make a table of movies, micrographs, particles, coordinates or maps that lie elsewhere."""
    from vitreous.jobs.micrographs.import_data import run_import_data

    with progress() as on_event:
        found = run_import_data(config, on_event)
    print_lines(f"{found.words}: {found.table}", *(f"Warning: {w}" for w in found.warnings))


@app.command
def motion(config: Annotated[MotionConfig, Parameter(name="*")]) -> None:
    """Correct movies for motion, weigh frames by dose and sum them."""
    from vitreous.jobs.micrographs.motion import run_motion

    job, found = ran(run_motion, config)
    moved = found["motion"]
    finished(
        job,
        found,
        *(f"Gain reference {g['file']}: {g['orientation']}" for g in found["gain"]),
        f"Motion: median {moved['median_A']:.1f} A, at most {moved['largest_A']:.1f} A",
        f"Micrographs: {found['micrographs']}, in {job / 'corrected_micrographs.star'}",
    )
