"""Options and input of a 2D classification, checked before it begins."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from vitreous.config.classify2d import Class2dOptions
from vitreous.errors import InputError, OptionError
from vitreous.jobs.check.before import preflighted
from vitreous.particles.grid import Grid
from vitreous.particles.particle_set import ParticleSet, require_ctf
from vitreous.particles.stack import ImageSource
from vitreous.runs.options import chosen_mask_diameter, flag

_AT_LEAST = {"iterations": 1, "batch_per_class": 1, "offset_range": 0, "rounds": 1, "seed": 0}

_POSITIVE = ("tau2_fudge", "resolution_limit", "angular_sampling", "offset_step")


def check_options(options: Class2dOptions) -> None:
    """Check all options by themselves.

    Raises
    ------
    OptionError
        For the first that cannot be used.
    """
    for name, least in _AT_LEAST.items():
        value = getattr(options, name)
        if not value >= least:
            raise OptionError(f"{value} is less than {least}", where=flag(name))
    for name in _POSITIVE:
        value = getattr(options, name)
        if not (math.isfinite(value) and value > 0):
            raise OptionError(f"{value} is not more than 0", where=flag(name))
    if options.classes is not None and options.classes < 2:
        raise OptionError(
            f"{options.classes} is less than 2",
            where="--classes",
            hint="give the number of classes, or leave it out",
        )
    if not 1 <= options.angular_sampling <= 45:
        raise OptionError(
            f"{options.angular_sampling:g} degrees is outside 1 to 45",
            where="--angular-sampling",
            hint="give 6, or 3 for large particles",
        )
    if not 0 <= options.class_similarity <= 1:
        raise OptionError(
            f"{options.class_similarity:g} is outside 0 to 1", where="--class-similarity"
        )


def check_particles(options: Class2dOptions, table: ParticleSet) -> None:
    """Check what is asked of these particles.

    Raises
    ------
    InputError, OptionError
    """
    if len(table) < 2:
        raise InputError(
            f"{len(table)} particle, expected at least 2",
            where=table.path,
            hint="give more particles: classes are averages of many",
        )
    if options.classes is not None and options.classes > len(table):
        raise OptionError(
            f"{options.classes} classes are more than the {len(table)} particles",
            where="--classes",
            hint=f"give at most {len(table)}, or leave it out",
        )
    if options.ctf:
        require_ctf(table)
    if not options.align:
        hint = "give particles with poses, as vitreous class2d writes them, or leave out --no-align"
        table.require(ParticleSet.psi, ParticleSet.origin_x, ParticleSet.origin_y, hint=hint)


def within_nyquist(options: Class2dOptions, grid: Grid) -> Class2dOptions:
    """Options whose resolution limit the averages' grid can hold."""
    return replace(options, resolution_limit=max(options.resolution_limit, grid.nyquist))


def check_class2d(
    options: Class2dOptions, table: ParticleSet, source: ImageSource
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
    check_options(options)
    check_particles(options, table)
    chosen_mask_diameter(options.mask_diameter, table, None)
    return preflighted(options, table, source, options.resolution_limit)
