"""Look at particles before a job: what is wrong with them, and what would suit them."""

from __future__ import annotations

import json

from vitreous.config.particles import CheckConfig
from vitreous.errors import OptionError
from vitreous.io.atomic import write_text
from vitreous.io.plain import plain
from vitreous.jobs.check.preflight import Preflight, preflight
from vitreous.particles.files import read_particles
from vitreous.particles.stack import open_images
from vitreous.runs.folder import OnEvent, ignore
from vitreous.runs.options import deterministic, device_for, flag, on_its_threads
from vitreous.runs.targets import inputs_of, spare_inputs, spared


def _check_options(config: CheckConfig) -> None:
    for name in ("resolution", "mask_diameter"):
        value = getattr(config, name)
        if value is not None and not value > 0:
            raise OptionError(
                f"{value:g} is not more than 0",
                where=flag(name),
                hint="give it in angstrom",
            )
    if config.out is not None:
        spared(config.out, inputs_of(config), config.overwrite)


@on_its_threads
@deterministic
def run_check(config: CheckConfig, on_event: OnEvent = ignore) -> Preflight:
    """Check a particle stack; writes the record if a file is asked for.

    Raises
    ------
    VitreousError
        For particles that cannot be opened at all, and output that cannot be written.
    """
    _check_options(config)
    table = read_particles(config.particles)
    source = open_images(table)
    if config.out is not None:
        spare_inputs(config.out, table.stacks)
    on_event({"event": "start", "job": "check", "particles": len(table)})
    found = preflight(
        table,
        source,
        ctf=config.ctf,
        phase_flipped=config.phase_flipped,
        resolution=config.resolution,
        mask_diameter=config.mask_diameter,
        device=device_for(config.device),
    )
    record = {"particles": str(config.particles), "rows": len(table), **found.record()}
    if config.out is not None:
        write_text(config.out, json.dumps(plain(record), indent=2) + "\n")
    on_event({"event": "done", **found.record()})
    return found
