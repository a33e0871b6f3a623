"""Maps from known poses, and models against maps."""

from __future__ import annotations

import json
from typing import Annotated

from cyclopts import Parameter

from vitreous.cli.app import angstrom, app, finished, told
from vitreous.jobs.config_validation import ReconstructConfig


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
        f"Maps: {', '.join(str(job / f'{name}.mrc') for name in names)}",
    )
