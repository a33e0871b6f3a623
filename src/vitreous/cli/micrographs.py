"""From micrographs to particles: their CTF, picks, and the images cut out of them."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from vitreous.cli.app import app, finished, ran
from vitreous.config.ctf_estimation import CtfConfig
from vitreous.config.extract import ExtractConfig
from vitreous.config.picking import PickConfig


@app.command(name="ctf")
def estimate(config: Annotated[CtfConfig, Parameter(name="*")]) -> None:
    """Estimate the CTF of micrographs, how sure it is, and which micrographs to keep."""
    from vitreous.jobs.ctf_estimation.ctf import run_ctf

    job, found = ran(run_ctf, config)
    counts = ", ".join(f"{word} {count}" for word, count in found["verdicts"].items())
    finished(
        job,
        found,
        f"{len(found['micrographs']):,} micrographs: {counts}",
        f"Micrographs: {job / 'micrographs_ctf.star'}",
    )


@app.command
def pick(config: Annotated[PickConfig, Parameter(name="*")]) -> None:
    """Find particles on micrographs as blobs or by references, at a false discovery rate."""
    from vitreous.jobs.picking.pick import run_pick

    job, found = ran(run_pick, config)
    finished(
        job,
        found,
        f"{found['picks']:,} picks, {found['contrast']}, on {len(found['micrographs']):,} "
        f"micrographs at a false discovery rate of {config.fdr:g}",
        f"Picks: {job / 'picks.star'}",
    )


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
