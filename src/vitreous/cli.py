"""The command ``vitreous``: every option comes from a class in ``jobs/config.py``."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from rich.console import Console
from rich.table import Table

from vitreous import __version__
from vitreous.errors import VitreousError
from vitreous.jobs.config import (
    AbinitConfig,
    CheckConfig,
    CompareConfig,
    DemoConfig,
    SimulateConfig,
)
from vitreous.jobs.config_maps import (
    AnisotropyConfig,
    LocalResolutionConfig,
    PostprocessConfig,
    SymmetryConfig,
)
from vitreous.jobs.folder import OnEvent

_BAD_INPUT, _INTERRUPTED = 2, 130

app = App(
    name="vitreous",
    version=__version__,
    help="Single-particle cryo-EM images to 3D maps, and whether to believe them.",
)


@contextmanager
def _told(log: Path | None, append: bool = False) -> Iterator[OnEvent]:
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


def _angstrom(value: float | None) -> str:
    return "not reached" if value is None else f"{value:.2f} A"


def _finished(job: Path, *lines: str) -> None:
    """Write the report of a validation and print what it found, its warnings and its place."""
    from vitreous.report.validation import write_validation_report

    warnings = json.loads((job / "result.json").read_text())["warnings"]
    report = f"Report: {write_validation_report(job)}"
    said = [*lines, *(f"Warning: {warning}" for warning in warnings), report]
    Console().print("\n".join(said), soft_wrap=True, markup=False, highlight=False)


@app.command
def abinit(config: Annotated[AbinitConfig, Parameter(name="*")]) -> None:
    """Make one or several first maps from particles in unknown orientations."""
    from vitreous.jobs.abinit import run_abinit
    from vitreous.report.html import write_report

    with _told(config.out / "log.jsonl", append=config.resume) as on_event:
        job = run_abinit(config, on_event)
    verdict = json.loads((job / "result.json").read_text())
    Console().print(f"Verdict: {verdict['verdict']}. {verdict['sentence']}", soft_wrap=True)
    Console().print(f"Map: {job / 'class001.mrc'}\nReport: {write_report(job)}", soft_wrap=True)


@app.command
def check(config: Annotated[CheckConfig, Parameter(name="*")]) -> None:
    """Look at particles before a job: what is wrong with them, and what would suit them.

    Exit code 2 if there is an error that would stop a job.
    """
    from vitreous.jobs.check import run_check
    from vitreous.report.findings import findings_view

    with _told(None) as on_event:
        found = run_check(config, on_event)
    Console().print(findings_view(found), soft_wrap=True)
    if found.of("error"):
        sys.exit(_BAD_INPUT)


@app.command
def simulate(config: Annotated[SimulateConfig, Parameter(name="*")]) -> None:
    """Simulate particle images of a model or map, with their true poses."""
    from vitreous.jobs.simulate import run_simulate

    with _told(config.out / "log.jsonl") as on_event:
        star = run_simulate(config, on_event)
    Console().print(f"Particles: {star}", soft_wrap=True)


@app.command
def compare(config: Annotated[CompareConfig, Parameter(name="*")]) -> None:
    """Compare a map with the truth: align over rotation, shift and hand, then FSC."""
    from vitreous.jobs.compare import run_compare

    with _told(None) as on_event:
        result = run_compare(config, on_event)
    table = Table("resolution (A)", "FSC", title="Fourier shell correlation")
    for frequency, value in zip(result.frequency[1:], result.fsc[1:], strict=True):
        table.add_row(f"{1 / frequency:.1f}", f"{value:.3f}")
    console = Console()
    console.print(table)

    console.print(
        f"FSC 0.5: {_angstrom(result.resolution_05)}\n"
        f"FSC 0.143: {_angstrom(result.resolution_0143)}\n"
        f"Correlation: {result.correlation:.3f} (at 25 A: {result.correlation_25:.3f})\n"
        f"Hand: {result.hand}\n"
        f"Rotation (rot, tilt, psi): {', '.join(f'{a:.1f}' for a in result.euler)} degrees; "
        f"shift (x, y, z): {', '.join(f'{s:.1f}' for s in result.shift)} A\n"
        f"Soft spherical mask: {result.mask_diameter:g} A across\n"
        f"Aligned map: {result.aligned}",
        soft_wrap=True,
    )


@app.command
def symmetry(config: Annotated[SymmetryConfig, Parameter(name="*")]) -> None:
    """Find a map's point group and axes; lay the map on them, impose the group."""
    from vitreous.jobs.symmetry import run_symmetry

    with _told(None) as on_event:
        result = run_symmetry(config, on_event)
    finding, chosen = result.finding, result.chosen
    table = Table("group", "score", "noise allows", "holds to (A)", "verdict", title="Point groups")
    for score in finding.scores:
        held = "nowhere" if score.held_to is None else f"{score.held_to:.1f}"
        allowed = "?" if finding.noise == "unknown" else f"{score.allowed:.2f}"
        table.add_row(score.group, f"{score.score:.2f}", allowed, held, finding.verdict(score))
    console = Console()
    console.print(table)
    noise = {
        "half-maps": "from the half-maps",
        "solvent": "from outside the mask",
        "unknown": "unknown: all differences count as asymmetry",
    }
    console.print(
        f"Tested to {finding.resolution:.1f} A inside {result.mask_diameter:.0f} A; "
        f"noise {noise[finding.noise]}",
        *(f"Warning: {warning}" for warning in finding.warnings),
        f"Point group found: {finding.group}",
        sep="\n",
        soft_wrap=True,
    )
    if chosen is not None:
        if not chosen.holds:
            console.print(f"Warning: {chosen.group} does not hold; it is used as told")
        shift = (s * result.pixel_size for s in chosen.shift)
        console.print(
            f"Main axis of {chosen.group} (x, y, z): {', '.join(f'{a:.3f}' for a in chosen.axis)}\n"
            f"To RELION's axes: rotation (rot, tilt, psi) "
            f"{', '.join(f'{a:.1f}' for a in chosen.euler)} degrees, "
            f"then shift (x, y, z) {', '.join(f'{s:.1f}' for s in shift)} A",
            soft_wrap=True,
        )
    for name, path in (("Aligned map", result.aligned), ("Scores", result.table)):
        if path is not None:
            console.print(f"{name}: {path}", soft_wrap=True)


@app.command
def demo(config: Annotated[DemoConfig | None, Parameter(name="*")] = None) -> None:
    """Simulate a small data set, reconstruct it and write a report, in about a minute."""
    from vitreous.jobs.demo import job_folder, run_demo
    from vitreous.report.html import write_report

    config = config or DemoConfig()
    with _told(None) as shown, _told(job_folder(config) / "log.jsonl") as logged:
        result = run_demo(config, shown, logged)
    found = result.comparison
    Console().print(
        f"The map agrees with the simulated molecule to "
        f"{found.resolution_05 or float('nan'):.1f} A (FSC 0.5), hand {found.hand}.\n"
        f"Report: {write_report(result.job)}",
        soft_wrap=True,
    )


@app.command
def postprocess(config: Annotated[PostprocessConfig, Parameter(name="*")]) -> None:
    """Resolution, B-factor and the sharpened, masked map of two half-maps."""
    from vitreous.jobs.postprocess import run_postprocess

    with _told(config.out / "log.jsonl") as on_event:
        job = run_postprocess(config, on_event)
    found = json.loads((job / "result.json").read_text())
    _finished(
        job,
        f"FSC 0.143: {_angstrom(found['resolution_0143'])}",
        f"FSC 0.5: {_angstrom(found['resolution_05'])}",
        f"B-factor: {found['bfactor']:.1f} A^2 ({found['bfactor_source']})",
        f"Map: {job / 'sharpened.mrc'}",
    )


@app.command
def local_resolution(config: Annotated[LocalResolutionConfig, Parameter(name="*")]) -> None:
    """Resolution everywhere in a map, and the map filtered to it."""
    from vitreous.jobs.local_resolution import run_local_resolution

    with _told(config.out / "log.jsonl") as on_event:
        job = run_local_resolution(config, on_event)
    found = json.loads((job / "result.json").read_text())
    local = found["local_resolution"]
    _finished(
        job,
        f"FSC 0.143 within the mask: {_angstrom(found['resolution_0143'])}",
        f"Local resolution: median {_angstrom(local['percentile_50'])}, 90 % of the mask between "
        f"{_angstrom(local['percentile_5'])} and {_angstrom(local['percentile_95'])}",
        f"Maps: {job / 'local_resolution.mrc'}, {job / 'locally_filtered.mrc'}",
    )


@app.command
def anisotropy(config: Annotated[AnisotropyConfig, Parameter(name="*")]) -> None:
    """Resolution by direction, and how evenly the particles' views are spread."""
    from vitreous.jobs.anisotropy import run_anisotropy

    with _told(config.out / "log.jsonl") as on_event:
        job = run_anisotropy(config, on_event)
    found = json.loads((job / "result.json").read_text())
    views = found["views"]
    _finished(
        job,
        f"cFAR: {found['cfar']:.2f}; sphericity: {found['sphericity']:.3f}",
        *([] if views is None else [f"Score of the views: {views['score']:.2f}"]),
        *found["advice"],
    )


def main() -> None:
    """Run the command; what a user can mend ends in one line and exit code 2."""
    try:
        app()
    except VitreousError as error:
        print(f"error: {error.line()}", file=sys.stderr)
        sys.exit(_BAD_INPUT)
    except KeyboardInterrupt:
        print("interrupted; abinit goes on from its checkpoint with --resume", file=sys.stderr)
        sys.exit(_INTERRUPTED)
