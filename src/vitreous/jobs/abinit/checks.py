"""Options and input checked before a search begins."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Int

from vitreous.config.abinit import EFFORTS, AbinitConfig
from vitreous.errors import InputError, OptionError
from vitreous.jobs.check.before import preflighted
from vitreous.math.group_names import normalise_name
from vitreous.particles.grid import common_grid
from vitreous.particles.particle_set import ParticleSet, require_ctf
from vitreous.particles.stack import ImageSource
from vitreous.runs.options import AUTO, chosen_mask_diameter, flag
from vitreous.schedules.abinit.schedule import schedule

_MOST_USED = 100_000
"""Most particles that a job works with where nothing is said."""

_AT_LEAST = {
    "classes": 1,
    "starts": 1,
    "write_every": 1,
    "initial_batch": 1,
    "final_batch": 1,
    "initial_iterations": 0,
    "between_iterations": 0,
    "final_iterations": 0,
    "polish_passes": 1,
    "particles_used": 1,
    "offset_range": 0,
    "noise_halflife": -1,
    "seed": 0,
}


def _check_numbers(config: AbinitConfig) -> None:
    for name, least in _AT_LEAST.items():
        value = getattr(config, name)
        if value not in (None, "auto", "all") and not value >= least:
            raise OptionError(f"{value} is less than {least}", where=flag(name))
    for name in ("initial_resolution", "final_resolution", "offset_step", "angular_sampling"):
        value = getattr(config, name)
        if value is not None and not value > 0:
            raise OptionError(f"{value} is not more than 0", where=flag(name))
    first = config.initial_resolution
    if first is not None and first < config.ends_at:
        raise OptionError(
            f"{first:g} A is finer than the final one, {config.ends_at:g} A",
            where="--initial-resolution",
            hint="begin at a coarser resolution than you end at",
        )
    if config.angular_sampling is not None and not 1.5 <= config.angular_sampling <= 60:
        raise OptionError(
            f"{config.angular_sampling:g} degrees is outside 1.5 to 60",
            where="--angular-sampling",
            hint="give 30, 15, 7.5 or 3.75",
        )
    if config.effort not in EFFORTS:
        raise OptionError(
            f"{config.effort!r} is none of {', '.join(EFFORTS)}",
            where="--effort",
            hint="give one of these",
        )
    if not 0 <= config.class_similarity <= 1:
        raise OptionError(
            f"{config.class_similarity:g} is outside 0 to 1", where="--class-similarity"
        )
    if not config.ctf and (config.phase_flipped or config.ignore_ctf_until_first_peak):
        raise OptionError(
            "--phase-flipped and --ignore-ctf-until-first-peak have no effect with --no-ctf",
            where="--no-ctf",
            hint="leave one of them out",
        )


def particles_used(
    config: AbinitConfig, table: ParticleSet
) -> tuple[Int[np.ndarray, " m"], list[str]]:
    """Rows of the particles that a job works with, and a warning where there are others."""
    given, count = config.particles_used, len(table)
    seen = config.classes * sum(step.batch for step in schedule(config, count))
    most = count if given == "all" else min(seen, _MOST_USED) if given == "auto" else given
    if most >= count:
        return np.arange(count), []
    rows = np.linspace(0, count - 1, most).round().astype(np.int64)
    said = f"{most} of {count} particles, spread over the stack, are used; the others"
    if config.pose_all:
        return rows, [f"{said} get their poses by the last map, and have no part in it."]
    return rows, [f"{said} are not in particles.star (--pose-all, --particles-used all)."]


def _check_batches(config: AbinitConfig, table: ParticleSet) -> None:
    for name in ("initial_batch", "final_batch"):
        value = getattr(config, name)
        if value is not None and value > len(table):
            raise InputError(
                f"{len(table)} particles are fewer than a mini-batch of {value} ({flag(name)})",
                where=table.path,
                hint=f"give {flag(name)} {len(table)} or less",
            )
    if len(table) < 10 * config.classes:
        raise InputError(
            f"{len(table)} particles are too few for {config.classes} map(s), expected "
            f"{10 * config.classes} or more",
            where=table.path,
            hint="give more particles or fewer classes",
        )


def within_nyquist(config: AbinitConfig, table: ParticleSet) -> tuple[AbinitConfig, list[str]]:
    """The same options, no resolution finer than the pixels hold, and a warning if one was."""
    finest = common_grid(table).nyquist
    if not 0 < config.ends_at < finest:
        return config, []
    if config.final_resolution is None:
        return replace(config, final_resolution=finest), []
    first = config.initial_resolution
    limited = replace(
        config,
        final_resolution=finest,
        initial_resolution=first if first is None else max(first, finest),
    )
    return limited, [
        f"The final resolution of {config.ends_at:g} A is beyond what pixels of "
        f"{finest / 2:g} A hold: the search ends at their Nyquist resolution, {finest:g} A."
    ]


def check_options(config: AbinitConfig, table: ParticleSet) -> None:
    """Check all options against each other and the particle table.

    Raises
    ------
    OptionError, InputError
        For the first thing that cannot be used.
    """
    _check_numbers(config)
    if config.symmetry != AUTO:
        normalise_name(config.symmetry)
    elif config.classes > 1:
        raise OptionError(
            "auto looks for the symmetry of one map, but --classes asks for more",
            where="--symmetry",
            hint="name the group, or make one class",
        )
    if config.ctf:
        require_ctf(table)
    chosen_mask_diameter(config.mask_diameter, table, None)
    _check_batches(config, table)


def check_abinit(
    config: AbinitConfig, table: ParticleSet, source: ImageSource
) -> tuple[float, list[str], dict[str, Any]]:
    """Check all options, the table and the images.

    Returns
    -------
    mask_diameter : float
        In angstrom, chosen where not given.
    warnings : list of str
    record : dict
        Of the pre-flight, for result.json.

    Raises
    ------
    OptionError, InputError
        For the first thing that cannot be used.
    """
    check_options(config, table)
    diameter, warnings, record = preflighted(config, table, source, config.ends_at)
    return diameter, warnings, record
