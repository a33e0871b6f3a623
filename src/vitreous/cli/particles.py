"""Particles looked at, made, selected, expanded under symmetry, and freed of signal."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

from cyclopts import Parameter
from rich.table import Table

from vitreous.cli.app import app, progress
from vitreous.cli.failures import BAD_INPUT
from vitreous.config.particles import (
    CheckConfig,
    ConvertConfig,
    ExpandSymmetryConfig,
    SelectConfig,
    SubtractConfig,
)
from vitreous.config.simulate import SimulateConfig
from vitreous.report.terminal import print_lines, print_view
from vitreous.validate.class_quality import ClassQuality


@app.command
def check(config: Annotated[CheckConfig, Parameter(name="*")]) -> None:
    """Look at particles before a job: what is wrong with them, and what would suit them.

    Exit code 2 if there is an error that would stop a job.
    """
    from vitreous.jobs.check.check import run_check
    from vitreous.report.findings import findings_view

    with progress() as on_event:
        found = run_check(config, on_event)
    print_view(findings_view(found), wrap=False)
    if found.of("error"):
        sys.exit(BAD_INPUT)


@app.command
def simulate(config: Annotated[SimulateConfig, Parameter(name="*")]) -> None:
    """Simulate particle images of a model or map, with their true poses."""
    from vitreous.jobs.simulate import run_simulate

    with progress() as on_event:
        star = run_simulate(config, on_event)
    print_lines(f"Particles: {star}")


def _ranking(ranking: Sequence[ClassQuality], least: float) -> Table:
    """The classes, the best first, with what their scores are made of."""
    table = Table("class", "label", "share", "score", "kept", "terms", title="Classes")
    for quality in ranking:
        record, kept = quality.record, "yes" if quality.score >= least else "no"
        terms = (f"{name.replace('_', ' ')} {value:.2f}" for name, value in quality.terms.items())
        cells = (f"{record.share:.1%}", f"{quality.score:.2f}", kept, ", ".join(terms))
        table.add_row(str(record.number), record.label, *cells)
    return table


@app.command
def select(config: Annotated[SelectConfig, Parameter(name="*")]) -> None:
    """Select particles by class, posterior, any column, distance or at random; and micrographs."""
    from vitreous.jobs.particles.select import run_select

    result = run_select(config)
    if result.ranking:
        print_view(_ranking(result.ranking, config.min_score))
    print_lines(
        *(f"{step.what}: {step.particles} {result.kind}" for step in result.steps),
        *(f"Warning: {warning}" for warning in result.warnings),
        *(f"{result.kind.capitalize()}: {path}" for path in result.outputs),
        f"Record: {result.record}",
    )


@app.command
def convert(config: Annotated[ConvertConfig, Parameter(name="*")]) -> None:
    """Convert particles between RELION, cryoSPARC, cisTEM, FREALIGN and EMAN2, without loss."""
    from vitreous.jobs.particles.convert import run_convert

    result = run_convert(config)
    if config.picture is not None:
        from vitreous.report.picks import write_picks

        print_lines(f"Picture: {write_picks(config.out, config.picture)}")
    print_lines(
        *(f"Warning: {note}" for note in result.notes),
        f"{result.particles:,} particles: {result.path}",
        *([] if result.side is None else [f"What the format has no columns for: {result.side}"]),
    )


@app.command
def expand_symmetry(config: Annotated[ExpandSymmetryConfig, Parameter(name="*")]) -> None:
    """Write each particle once for every pose that the map's symmetry makes equal."""
    from vitreous.jobs.particles.expand_symmetry import run_expand_symmetry

    result = run_expand_symmetry(config)
    print_lines(
        *(f"Warning: {warning}" for warning in result.warnings),
        f"{result.group}: {result.particles} particles to {result.rows} rows: {result.star}",
    )


@app.command
def subtract(config: Annotated[SubtractConfig, Parameter(name="*")]) -> None:
    """Subtract a part of the map from the particles' images, or take that back."""
    from vitreous.jobs.particles.subtract import run_subtract

    with progress() as on_event:
        result = run_subtract(config, on_event)
    print_lines(
        *(f"Scale of optics group {group}: {scale:.4g}" for group, scale in result.scales.items()),
        *(f"Warning: {warning}" for warning in result.warnings),
        f"Particles: {result.star}",
    )
