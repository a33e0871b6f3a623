"""What half-maps tell."""

from __future__ import annotations

import json
from typing import Annotated

from cyclopts import Parameter

from vitreous.cli.app import angstrom, app, finished, told
from vitreous.jobs.config.maps import AnisotropyConfig, LocalResolutionConfig, PostprocessConfig


@app.command
def postprocess(config: Annotated[PostprocessConfig, Parameter(name="*")]) -> None:
    """Resolution, B-factor and the sharpened, masked map of two half-maps."""
    from vitreous.jobs.maps.postprocess import run_postprocess

    with told(config.out / "log.jsonl") as on_event:
        job = run_postprocess(config, on_event)
    found = json.loads((job / "result.json").read_text())
    finished(
        job,
        f"FSC 0.143: {angstrom(found['resolution_0143'])}",
        f"FSC 0.5: {angstrom(found['resolution_05'])}",
        f"B-factor: {found['bfactor']:.1f} A^2 ({found['bfactor_source']})",
        f"Map: {job / 'sharpened.mrc'}",
    )


@app.command
def local_resolution(config: Annotated[LocalResolutionConfig, Parameter(name="*")]) -> None:
    """Resolution everywhere in a map, and the map filtered to it."""
    from vitreous.jobs.maps.local_resolution import run_local_resolution

    with told(config.out / "log.jsonl") as on_event:
        job = run_local_resolution(config, on_event)
    found = json.loads((job / "result.json").read_text())
    local = found["local_resolution"]
    finished(
        job,
        f"FSC 0.143 within the mask: {angstrom(found['resolution_0143'])}",
        f"Local resolution: median {angstrom(local['percentile_50'])}, 90 % of the mask between "
        f"{angstrom(local['percentile_5'])} and {angstrom(local['percentile_95'])}",
        f"Maps: {job / 'local_resolution.mrc'}, {job / 'locally_filtered.mrc'}",
    )


@app.command
def anisotropy(config: Annotated[AnisotropyConfig, Parameter(name="*")]) -> None:
    """Resolution by direction, and how evenly the particles' views are spread."""
    from vitreous.jobs.maps.anisotropy import run_anisotropy

    with told(config.out / "log.jsonl") as on_event:
        job = run_anisotropy(config, on_event)
    found = json.loads((job / "result.json").read_text())
    views = found["views"]
    finished(
        job,
        f"cFAR: {found['cfar']:.2f}; sphericity: {found['sphericity']:.3f}",
        *([] if views is None else [f"Score of the views: {views['score']:.2f}"]),
        *found["advice"],
    )
