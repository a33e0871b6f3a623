"""From micrographs to particles: their CTF, picks, and the images cut out of them."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from vitreous.cli.app import app, finished, ran
from vitreous.config.extract import ExtractConfig


@app.command
def extract(config: Annotated[ExtractConfig, Parameter(name="*")]) -> None:
    """Cut particles out of micrographs, or cut refined particles out again."""
    from vitreous.jobs.extract.extract import run_extract

    job, found = ran(run_extract, config)
    finished(
        job,
        found,
        f"{found['particles']:,} particles of {found['box']} pixels from "
        f"{len(found['micrographs']):,} micrographs",
        f"Particles: {job / 'particles.star'}",
    )
