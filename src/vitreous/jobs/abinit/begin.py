"""Options and particles of an ab initio job, checked before anything is searched or written."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Int

from vitreous.config.abinit import AbinitConfig
from vitreous.engine.comm import require_same_input
from vitreous.engine.recorded import as_recorded
from vitreous.jobs.abinit.checks import check_abinit, particles_used, within_nyquist
from vitreous.jobs.particles.chosen import chosen_particles
from vitreous.ops.compiler import COMPILED, NOT_COMPILED
from vitreous.particles.grid import grid_warnings
from vitreous.particles.particle_set import ParticleSet
from vitreous.particles.stack import ImageSource, open_images
from vitreous.runs.contents import digest_of
from vitreous.runs.options import AUTO, device_for
from vitreous.schedules.abinit.inputs import AbinitInputs


@dataclass(frozen=True)
class Begun:
    """All that an ab initio job begins with.

    Attributes
    ----------
    inputs : AbinitInputs
        Of the particles that are used.
    every : ParticleSet and ImageSource
        All particles, and their images.
    used : int array (used,)
        Rows of those that are used.
    warnings : list of str
    preflight : dict
        Its record.
    """

    inputs: AbinitInputs
    every: tuple[ParticleSet, ImageSource]
    used: Int[np.ndarray, " m"]
    warnings: list[str]
    preflight: dict[str, Any]


def with_effort(config: AbinitConfig) -> AbinitConfig:
    """Options with symmetry looked for, if high effort is asked and none is imposed."""
    looks = config.effort == "high" and config.classes == 1 and config.symmetry.upper() == "C1"
    return replace(config, symmetry=AUTO) if looks else config


def begin(config: AbinitConfig) -> Begun:
    """Read and check everything; nothing is written.

    Raises
    ------
    VitreousError
        For the first thing that cannot be used, and for want of memory.
    """
    device = device_for(config.device)
    table = chosen_particles(config)
    source = open_images(table)
    config, limited = within_nyquist(with_effort(config), table)
    mask_diameter, warnings, checked = check_abinit(config, table, source)
    every = table, as_recorded(source, ctf=config.ctf)
    used, left_out = particles_used(config, table)
    table = table.take(used)
    source = every[1].of(table)
    if device.type == "cpu" and not COMPILED:
        warnings.append(NOT_COMPILED)
    digest = digest_of(table, source)
    require_same_input(digest, table.path)
    inputs = AbinitInputs(config, table, source, mask_diameter, device, config.out, digest)
    warnings += [*limited, *left_out, *grid_warnings(table, inputs.grid)]
    inputs.memory.check(table.path)
    return Begun(inputs, every, used, warnings, checked)
