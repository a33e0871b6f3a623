"""Maps compared, judged, turned, and made from known poses."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import Parameter
from rich.table import Table

from vitreous.cli.app import angstrom, app, finished, progress, ran
from vitreous.config.maps import (
    AnisotropyConfig,
    CompareConfig,
    DepositConfig,
    LocalResolutionConfig,
    ModelCheckConfig,
    PostprocessConfig,
    ReconstructConfig,
    SymmetryConfig,
)
from vitreous.report.terminal import print_lines, print_view


@app.command
def compare(config: Annotated[CompareConfig, Parameter(name="*")]) -> None:
    """Compare a map with the truth: align over rotation, shift and hand, then FSC."""
    from vitreous.jobs.compare import run_compare

    with progress() as on_event:
        result = run_compare(config, on_event)
    table = Table("resolution (A)", "FSC", title="Fourier shell correlation")
    for frequency, value in zip(result.frequency[1:], result.fsc[1:], strict=True):
        table.add_row(f"{1 / frequency:.1f}", f"{value:.3f}")
    print_view(table)

    print_lines(
        f"FSC 0.5: {angstrom(result.resolution_05)}\n"
        f"FSC 0.143: {angstrom(result.resolution_0143)}\n"
        f"Correlation: {result.correlation:.3f} (at 25 A: {result.correlation_25:.3f})\n"
        f"Hand: {result.hand}\n"
        f"Rotation (rot, tilt, psi): {', '.join(f'{a:.1f}' for a in result.euler)} degrees; "
        f"shift (x, y, z): {', '.join(f'{s:.1f}' for s in result.shift)} A\n"
        f"Soft spherical mask: {result.mask_diameter:g} A across\n"
        f"Aligned map: {result.aligned}",
        *(f"Warning: {warning}" for warning in result.warnings),
    )


@app.command
def symmetry(config: Annotated[SymmetryConfig, Parameter(name="*")]) -> None:
    """Find a map's point group and axes; lay the map on them, impose the group."""
    from vitreous.jobs.maps.symmetry import run_symmetry

    with progress() as on_event:
        result = run_symmetry(config, on_event)
    finding, chosen = result.finding, result.chosen
    table = Table("group", "score", "noise allows", "holds to (A)", "verdict", title="Point groups")
    for score in finding.scores:
        held = "nowhere" if score.held_to is None else f"{score.held_to:.1f}"
        allowed = "?" if finding.noise == "unknown" else f"{score.allowed:.2f}"
        table.add_row(score.group, f"{score.score:.2f}", allowed, held, finding.verdict(score))
    print_view(table)
    noise = {
        "half-maps": "from the half-maps",
        "solvent": "from outside the mask",
        "unknown": "unknown: all differences count as asymmetry",
    }
    print_lines(
        f"Tested to {finding.resolution:.1f} A inside {result.mask_diameter:.0f} A; "
        f"noise {noise[finding.noise]}",
        *(f"Warning: {warning}" for warning in finding.warnings),
        f"Point group found: {finding.group}",
    )
    if chosen is not None:
        if not chosen.holds:
            print_lines(f"Warning: {chosen.group} does not hold; it is used as told")
        shift = (s * result.pixel_size for s in chosen.shift)
        print_lines(
            f"Main axis of {chosen.group} (x, y, z): {', '.join(f'{a:.3f}' for a in chosen.axis)}\n"
            f"To RELION's axes: rotation (rot, tilt, psi) "
            f"{', '.join(f'{a:.1f}' for a in chosen.euler)} degrees, "
            f"then shift (x, y, z) {', '.join(f'{s:.1f}' for s in shift)} A",
        )
    for name, path in (("Aligned map", result.aligned), ("Scores", result.table)):
        if path is not None:
            print_lines(f"{name}: {path}")


@app.command
def postprocess(config: Annotated[PostprocessConfig, Parameter(name="*")]) -> None:
    """Resolution, B-factor and the sharpened, masked map of two half-maps."""
    from vitreous.jobs.maps.postprocess import run_postprocess

    job, found = ran(run_postprocess, config)
    finished(
        job,
        found,
        f"FSC 0.143: {angstrom(found['resolution_0143'])}",
        f"FSC 0.5: {angstrom(found['resolution_05'])}",
        f"B-factor: {found['bfactor']:.1f} A^2 ({found['bfactor_source']})",
        f"Map: {job / 'sharpened.mrc'}",
    )


@app.command
def local_resolution(config: Annotated[LocalResolutionConfig, Parameter(name="*")]) -> None:
    """Resolution everywhere in a map, and the map filtered to it."""
    from vitreous.jobs.maps.local_resolution import run_local_resolution

    job, found = ran(run_local_resolution, config)
    local = found["local_resolution"]
    finished(
        job,
        found,
        f"FSC 0.143 within the mask: {angstrom(found['resolution_0143'])}",
        f"Local resolution: median {angstrom(local['percentile_50'])}, 90 % of the mask between "
        f"{angstrom(local['percentile_5'])} and {angstrom(local['percentile_95'])}",
        f"Maps: {job / 'local_resolution.mrc'}, {job / 'locally_filtered.mrc'}",
    )


@app.command
def anisotropy(config: Annotated[AnisotropyConfig, Parameter(name="*")]) -> None:
    """Resolution by direction, and how evenly the particles' views are spread."""
    from vitreous.jobs.maps.anisotropy import run_anisotropy

    job, found = ran(run_anisotropy, config)
    views = found["views"]
    finished(
        job,
        found,
        f"cFAR: {found['cfar']:.2f}; sphericity: {found['sphericity']:.3f}",
        *([] if views is None else [f"Score of the views: {views['score']:.2f}"]),
        *found["advice"],
    )


def _curvature(sphere: dict[str, Any]) -> str:
    mean = ", ".join(f"{name} {value:.4f}" for name, value in sphere["mean_fsc"].items())
    halves = f" (mean FSC of the halves: {mean})" if mean else ""
    return f"Ewald sphere: curved {sphere['curvature']}{halves}"


def _doubt(found: dict[str, Any]) -> str:
    return "" if found["halves"]["independent"] else " (the halves are not independent)"


@app.command
def reconstruct(config: Annotated[ReconstructConfig, Parameter(name="*")]) -> None:
    """Map and half-maps of particles at the poses that their STAR file holds."""
    from vitreous.jobs.maps.reconstruct import run_reconstruct

    job, found = ran(run_reconstruct, config)
    names = ["map", "half1", "half2"] if "fsc" in found else ["map"]
    resolution = found.get("resolution_0143")
    finished(
        job,
        found,
        *([f"FSC 0.143: {angstrom(resolution)}{_doubt(found)}"] if "fsc" in found else []),
        *([_curvature(found["ewald"])] if found["ewald"] else []),
        f"Maps: {', '.join(str(job / f'{name}.mrc') for name in names)}",
    )


@app.command
def model_check(config: Annotated[ModelCheckConfig, Parameter(name="*")]) -> None:
    """Fit a model to a map and tell how well they agree, as a whole and by chain and residue."""
    from vitreous.jobs.maps.model_check import run_model_check

    job, found = ran(run_model_check, config)
    hands = found["correlation_by_hand"]
    finished(
        job,
        found,
        f"Map-to-model FSC 0.5: {angstrom(found['resolution_05'])}",
        f"Correlation round the model: {found['correlation']:.3f}",
        *(
            []
            if hands["mirrored"] is None
            else [f"By hand: {hands['same']:.3f}; mirrored: {hands['mirrored']:.3f}"]
        ),
        *(f"Chain {row['chain']}: {row['correlation'] or 0:.3f}" for row in found["chains"]),
        f"Model: {job / found['fitted']}",
    )


@app.command
def deposit(config: Annotated[DepositConfig, Parameter(name="*")]) -> None:
    """Gather what EMDB asks for: map, half-maps, mask, FSC and a table of answers."""
    from vitreous.jobs.maps.deposit import run_deposit

    result = run_deposit(config)
    print_lines(
        *(f"Warning: the job left no {name}." for name in result.missing),
        *(str(path) for path in result.files),
    )
