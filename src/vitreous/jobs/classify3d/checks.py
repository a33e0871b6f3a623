"""Options and input of a classification, checked before it begins."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from vitreous.errors import InputError, OptionError
from vitreous.jobs.check.preflight import preflight
from vitreous.jobs.config_classify import Classify3dConfig
from vitreous.jobs.images import check_one_field
from vitreous.jobs.options import AUTO, chosen_mask_diameter, flag
from vitreous.jobs.particles.select import class_list
from vitreous.math.symmetry import normalise_name
from vitreous.particles.poses import ANGLES, require_columns
from vitreous.particles.stack import ImageSource
from vitreous.particles.table import ParticleTable, require_ctf

_FEWEST = 20
"""Particles a class below which no classes can be told apart."""

_PIXELS_A_RING = 2.6
"""Pixels of the working box for each ring, as :func:`vitreous.jobs.images.working_frame` has."""

_AT_LEAST = {
    "iterations": 1,
    "final_passes": 1,
    "batch_per_class": 1,
    "offset_range": 0,
    "seed": 0,
    "box": 24,
}

_POSITIVE = (
    *("lowpass", "initial_resolution", "resolution_limit", "regularisation"),
    *("angular_sampling", "offset_step", "local_search"),
)


def fixed_maps(config: Classify3dConfig) -> list[int]:
    """Maps (from 0) that stay as they were given.

    Raises
    ------
    OptionError
        For numbers that are no reference's, or all of them.
    """
    if config.fixed is None:
        return []
    found = class_list(config.fixed, "--fixed")
    if len(config.reference) == 1 or not 1 <= found[0] <= found[-1] <= len(config.reference):
        raise OptionError(
            f"{config.fixed} of {len(config.reference)} reference(s)",
            where="--fixed",
            mend="give numbers of references, of which there must be several",
        )
    if len(found) == len(config.reference):
        raise OptionError("all references are fixed", where="--fixed", mend="leave one free")
    return [number - 1 for number in found]


def _check_numbers(config: Classify3dConfig) -> None:
    for name, least in _AT_LEAST.items():
        value = getattr(config, name)
        if not value >= least:
            raise OptionError(f"{value} is less than {least}", where=flag(name))
    for name in _POSITIVE:
        value = getattr(config, name)
        if value is not None and not (math.isfinite(value) and value > 0):
            raise OptionError(f"{value} is not more than 0", where=flag(name))
    if not 1.5 <= config.angular_sampling <= 30:
        raise OptionError(
            f"{config.angular_sampling:g} degrees is outside 1.5 to 30",
            where="--angular-sampling",
            mend="give 15, 7.5 or 3.75",
        )
    if config.local_search is not None and config.local_search > 6 * config.angular_sampling:
        raise OptionError(
            f"{config.local_search:g} degrees is more than six steps of "
            f"{config.angular_sampling:g}",
            where="--local-search",
            mend="leave it out: all orientations are then tried, which is faster",
        )


def _check_choices(config: Classify3dConfig) -> None:
    if not config.reference:
        raise OptionError(
            "no reference",
            where="--reference",
            mend="give a map, such as class001.mrc of vitreous abinit",
        )
    if config.classes is not None and config.classes < 1:
        raise OptionError(f"{config.classes} is less than 1", where="--classes")
    several = len(config.reference)
    if several > 1 and config.classes not in (None, several):
        raise OptionError(
            f"{config.classes} classes from {several} references",
            where="--classes",
            mend="give one reference, or as many as classes",
        )
    if not config.align and config.local_search is not None:
        raise OptionError(
            "--no-align keeps all poses as they are",
            where="--local-search",
            mend="leave one of them out",
        )
    if config.mask is not None and config.align:
        raise OptionError(
            "a part of the molecule does not settle where particles lie",
            where="--mask",
            mend="pass --no-align too, with poses from a refinement",
        )


def _check_particles(config: Classify3dConfig, table: ParticleTable) -> None:
    check_one_field(table)
    if config.ctf:
        require_ctf(table)
    if config.placed:
        option = "--local-search" if config.align else "--no-align"
        mend = f"give particles with poses, as a refinement writes them, or leave out {option}"
        require_columns(table, ANGLES, mend)
    if len(table) < _FEWEST * config.count:
        raise InputError(
            f"{len(table)} particles are too few for {config.count} classes, expected "
            f"{_FEWEST * config.count} or more",
            where=table.path,
            mend="give more particles or fewer classes",
        )


def within_box(config: Classify3dConfig, table: ParticleTable) -> Classify3dConfig:
    """Options whose resolution limit the particles and the largest working box can hold."""
    field = table.optics[0].box * table.optics[0].pixel_size
    finest = max(2 * group.pixel_size for group in table.optics)
    held = max(config.resolution_limit, _PIXELS_A_RING * field / config.box, finest)
    return replace(config, resolution_limit=held)


def check_classify3d(
    config: Classify3dConfig, table: ParticleTable, source: ImageSource
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
    _check_choices(config)
    _check_numbers(config)
    fixed_maps(config)
    normalise_name(config.symmetry)
    _check_particles(config, table)
    chosen_mask_diameter(config.mask_diameter, table, None)
    found = preflight(
        table,
        source,
        ctf=config.ctf,
        phase_flipped=config.phase_flipped,
        resolution=config.resolution_limit,
        mask_diameter=None if config.mask_diameter == AUTO else config.mask_diameter,
    )
    if config.check:
        found.stop_on_error(table.path)
    errors = [finding.line() for finding in found.of("error")]
    diameter = chosen_mask_diameter(config.mask_diameter, table, found.estimates.mask_diameter)
    return diameter, [*errors, *found.warnings], found.record()
