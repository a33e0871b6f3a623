"""Maps from known poses, and models against maps."""

from __future__ import annotations

import json
from typing import Annotated, Any

from cyclopts import Parameter

from vitreous.cli.app import angstrom, app, finished, told
from vitreous.jobs.config.maps import ModelCheckConfig, ReconstructConfig


def _curvature(sphere: dict[str, Any]) -> str:
    mean = ", ".join(f"{name} {value:.4f}" for name, value in sphere["mean_fsc"].items())
    halves = f" (mean FSC of the halves: {mean})" if mean else ""
    return f"Ewald sphere: curved {sphere['curvature']}{halves}"


@app.command
def reconstruct(config: Annotated[ReconstructConfig, Parameter(name="*")]) -> None:
    """Map and half-maps of particles at the poses that their STAR file holds."""
    from vitreous.jobs.maps.reconstruct import run_reconstruct

    with told(config.out / "log.jsonl") as on_event:
        job = run_reconstruct(config, on_event)
    found = json.loads((job / "result.json").read_text())
    names = ["map", "half1", "half2"] if "fsc" in found else ["map"]
    resolution = found.get("resolution_0143")
    finished(
        job,
        *([f"FSC 0.143: {angstrom(resolution)}"] if "fsc" in found else []),
        *([_curvature(found["ewald"])] if found["ewald"] else []),
        f"Maps: {', '.join(str(job / f'{name}.mrc') for name in names)}",
    )


@app.command
def model_check(config: Annotated[ModelCheckConfig, Parameter(name="*")]) -> None:
    """Fit a model to a map and tell how well they agree, as a whole and by chain and residue."""
    from vitreous.jobs.maps.model_check import run_model_check

    with told(config.out / "log.jsonl") as on_event:
        job = run_model_check(config, on_event)
    found = json.loads((job / "result.json").read_text())
    hands = found["correlation_by_hand"]
    finished(
        job,
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
