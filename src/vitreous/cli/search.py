"""From particles to maps."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter
from rich.table import Table

from vitreous.cli.app import (
    angstrom,
    app,
    finished,
    progress,
    ran,
    reported,
    verdict_lines,
    warning_lines,
)
from vitreous.config.abinit import AbinitConfig
from vitreous.config.classify import Classify3dConfig
from vitreous.config.classify2d import Class2dConfig
from vitreous.config.refine import RefineConfig
from vitreous.config.simulate import DemoConfig
from vitreous.report.terminal import print_lines, print_view


@app.command
def abinit(config: Annotated[AbinitConfig, Parameter(name="*")]) -> None:
    """Make one or several first maps from particles in unknown orientations."""
    from vitreous.jobs.abinit.abinit import run_abinit
    from vitreous.report.html import write_report

    job, found = ran(run_abinit, config)
    places = (f"Map: {job / 'class001.mrc'}", reported(write_report, job))
    symmetry = [found["symmetry_found"]] if found["symmetry_found"] else []
    print_lines(*verdict_lines(found), *symmetry, *warning_lines(found), *places)


@app.command
def demo(config: Annotated[DemoConfig | None, Parameter(name="*")] = None) -> None:
    """Simulate a small data set, reconstruct it and write a report, in about a minute."""
    from vitreous.jobs.demo import run_demo
    from vitreous.report.html import write_report

    config = config or DemoConfig()
    with progress() as on_event:
        result = run_demo(config, on_event)
    found = result.comparison
    print_lines(
        f"The map agrees with the simulated molecule to "
        f"{found.resolution_05 or float('nan'):.1f} A (FSC 0.5), hand {found.hand}.",
        reported(lambda job: write_report(job / "abinit"), config.out),
    )


@app.command
def refine(config: Annotated[RefineConfig, Parameter(name="*")]) -> None:
    """Refine a map and all poses from two halves of the particles that never meet."""
    from vitreous.jobs.refine.refine import run_refine

    job, found = ran(run_refine, config)
    starts = [found["starts"]["sentence"]] if found["starts"] else []
    finished(
        job,
        found,
        *verdict_lines(found),
        *starts,
        f"FSC 0.143: {angstrom(found['resolution_0143'])}",
        f"FSC 0.5: {angstrom(found['resolution_05'])}",
        f"B-factor: {found['bfactor']:.1f} A^2 ({found['bfactor_source']})",
        f"Maps: {job / 'map.mrc'}, {job / 'sharpened.mrc'}",
    )


@app.command
def class2d(config: Annotated[Class2dConfig, Parameter(name="*")]) -> None:
    """Sort particles among class averages, and say which are worth keeping."""
    from vitreous.jobs.class2d.class2d import run_class2d
    from vitreous.report.html import write_report

    job, found = ran(run_class2d, config)
    table = Table("class", "particles", "share", "FSC 0.5", "score", "", title="Class averages")
    for entry in found["classes"]:
        cells = (f"{entry['particles']:,}", f"{entry['fraction']:.1%}")
        verdict = f"{entry['decision']}: {entry['reason']}"
        limit = angstrom(entry["resolution"])
        table.add_row(str(entry["class"]), *cells, limit, f"{entry['score']:.2f}", verdict)
    print_view(table)
    places = (f"Averages: {job / 'class_averages.mrcs'}", f"Particles: {job / 'particles.star'}")
    print_lines(*warning_lines(found), *places, reported(write_report, job))


@app.command
def classify3d(config: Annotated[Classify3dConfig, Parameter(name="*")]) -> None:
    """Sort particles among several maps, made from one reference or from one each."""
    from vitreous.jobs.classify3d.classify3d import run_classify3d
    from vitreous.report.html import write_report

    job, found = ran(run_classify3d, config)
    table = Table("class", "particles", "share", "FSC 0.143", "is", title="Classes")
    for entry in found["classes"]:
        noise = entry["label"] == "noise"
        sd = "" if noise else f" +- {entry['particles_sd']:.0f}"
        decoy = "decoy" if entry["class"] in found["decoys"] else entry["label"]
        cells = (f"{entry['particles']:,}{sd}", f"{entry['fraction']:.1%}")
        limit = "" if noise or entry["fixed"] else angstrom(entry["resolution_0143"])
        table.add_row(str(entry["class"]), *cells, limit, decoy)
    print_view(table)
    report = reported(write_report, job)
    print_lines(*warning_lines(found), f"Particles: {job / 'particles.star'}", report)
