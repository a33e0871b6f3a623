"""Particles looked at, and made."""

from __future__ import annotations

import sys
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

from vitreous.cli.app import BAD_INPUT, app, told
from vitreous.jobs.config.particles import CheckConfig
from vitreous.jobs.config.simulate import SimulateConfig


@app.command
def check(config: Annotated[CheckConfig, Parameter(name="*")]) -> None:
    """Look at particles before a job: what is wrong with them, and what would suit them.

    Exit code 2 if there is an error that would stop a job.
    """
    from vitreous.jobs.check.check import run_check
    from vitreous.report.findings import findings_view

    with told(None) as on_event:
        found = run_check(config, on_event)
    Console().print(findings_view(found), soft_wrap=True)
    if found.of("error"):
        sys.exit(BAD_INPUT)


@app.command
def simulate(config: Annotated[SimulateConfig, Parameter(name="*")]) -> None:
    """Simulate particle images of a model or map, with their true poses."""
    from vitreous.jobs.simulate import run_simulate

    with told(config.out / "log.jsonl") as on_event:
        star = run_simulate(config, on_event)
    Console().print(f"Particles: {star}", soft_wrap=True)
