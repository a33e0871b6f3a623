"""Particles sorted among several maps."""

from __future__ import annotations

import json
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from vitreous.cli.app import angstrom, app, told
from vitreous.jobs.config.classify import Classify3dConfig


@app.command
def classify3d(config: Annotated[Classify3dConfig, Parameter(name="*")]) -> None:
    """Sort particles among several maps, made from one reference or from one each."""
    from vitreous.jobs.classify3d.classify3d import run_classify3d
    from vitreous.report.classes import write_classes_report

    with told(config.out / "log.jsonl", append=config.resume) as on_event:
        job = run_classify3d(config, on_event)
    found = json.loads((job / "result.json").read_text())
    table = Table("class", "particles", "share", "FSC 0.143", "is", title="Classes")
    for entry in found["classes"]:
        noise = entry["label"] == "noise"
        sd = "" if noise else f" +- {entry['particles_sd']:.0f}"
        decoy = "decoy" if entry["class"] in found["decoys"] else entry["label"]
        cells = (f"{entry['particles']:,}{sd}", f"{entry['fraction']:.1%}")
        limit = "" if noise or entry["fixed"] else angstrom(entry["resolution_0143"])
        table.add_row(str(entry["class"]), *cells, limit, decoy)
    console = Console()
    console.print(table)
    warnings = (f"Warning: {warning}" for warning in found["warnings"])
    last = (f"Particles: {job / 'particles.star'}", f"Report: {write_classes_report(job)}")
    console.print("\n".join([*warnings, *last]), soft_wrap=True, markup=False, highlight=False)
