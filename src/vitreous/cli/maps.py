"""Maps beside a truth, and beside themselves turned."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from vitreous.cli.app import angstrom, app, told
from vitreous.jobs.config.maps import CompareConfig, SymmetryConfig


@app.command
def compare(config: Annotated[CompareConfig, Parameter(name="*")]) -> None:
    """Compare a map with the truth: align over rotation, shift and hand, then FSC."""
    from vitreous.jobs.compare import run_compare

    with told(None) as on_event:
        result = run_compare(config, on_event)
    table = Table("resolution (A)", "FSC", title="Fourier shell correlation")
    for frequency, value in zip(result.frequency[1:], result.fsc[1:], strict=True):
        table.add_row(f"{1 / frequency:.1f}", f"{value:.3f}")
    console = Console()
    console.print(table)

    console.print(
        f"FSC 0.5: {angstrom(result.resolution_05)}\n"
        f"FSC 0.143: {angstrom(result.resolution_0143)}\n"
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
    from vitreous.jobs.maps.symmetry import run_symmetry

    with told(None) as on_event:
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
