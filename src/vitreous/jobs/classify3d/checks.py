"""Options and input of a classification, checked before it begins."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from vitreous.config.classify import Classify3dOptions
from vitreous.errors import InputError, OptionError
from vitreous.jobs.check.before import preflighted
from vitreous.jobs.particles.select import class_list
from vitreous.math.group_names import normalise_name
from vitreous.particles.grid import Grid
from vitreous.particles.particle_set import ParticleSet, require_ctf
from vitreous.particles.poses import ANGLES
from vitreous.particles.stack import ImageSource
from vitreous.runs.options import chosen_mask_diameter, flag

_FEWEST = 20
"""Particles a class below which no classes can be told apart."""

_PIXELS_A_RING = 2.6
"""Pixels of the working box for each ring, as :func:`vitreous.engine.images.working_frame` has."""

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


def asked_fixed(options: Classify3dOptions, references: int) -> list[int]:
    """Of so many maps those (from 0) that --fixed names.

    Raises
    ------
    OptionError
        For numbers that are no reference's, or all of them.
    """
    if options.fixed is None:
        return []
    found = class_list(options.fixed, "--fixed")
    if references == 1 or not 1 <= found[0] <= found[-1] <= references:
        raise OptionError(
            f"{options.fixed} of {references} reference(s)",
            where="--fixed",
            hint="give numbers of references, of which there must be several",
        )
    if len(found) == references:
        raise OptionError("all references are fixed", where="--fixed", hint="leave one free")
    return [number - 1 for number in found]


def _check_numbers(options: Classify3dOptions) -> None:
    for name, least in _AT_LEAST.items():
        value = getattr(options, name)
        if not value >= least:
            raise OptionError(f"{value} is less than {least}", where=flag(name))
    for name in _POSITIVE:
        value = getattr(options, name)
        if value is not None and not (math.isfinite(value) and value > 0):
            raise OptionError(f"{value} is not more than 0", where=flag(name))
    if not 1.5 <= options.angular_sampling <= 30:
        raise OptionError(
            f"{options.angular_sampling:g} degrees is outside 1.5 to 30",
            where="--angular-sampling",
            hint="give 15, 7.5 or 3.75",
        )
    if options.local_search is not None and options.local_search > 6 * options.angular_sampling:
        raise OptionError(
            f"{options.local_search:g} degrees is more than six steps of "
            f"{options.angular_sampling:g}",
            where="--local-search",
            hint="leave it out: all orientations are then tried, which is faster",
        )


def _check_choices(options: Classify3dOptions, references: int, *, masked: bool) -> None:
    if not references:
        raise OptionError(
            "no reference",
            where="--reference",
            hint="give a map, such as class001.mrc of vitreous abinit",
        )
    if options.classes is not None and options.classes < 1:
        raise OptionError(f"{options.classes} is less than 1", where="--classes")
    if references > 1 and options.classes not in (None, references):
        raise OptionError(
            f"{options.classes} classes from {references} references",
            where="--classes",
            hint="give one reference, or as many as classes",
        )
    if not options.align and options.local_search is not None:
        raise OptionError(
            "--no-align keeps all poses as they are",
            where="--local-search",
            hint="leave one of them out",
        )
    if masked and options.align:
        raise OptionError(
            "a part of the molecule does not settle where particles lie",
            where="--mask",
            hint="pass --no-align too, with poses from a refinement",
        )


def _check_particles(options: Classify3dOptions, table: ParticleSet, classes: int) -> None:
    if options.ctf:
        require_ctf(table)
    if options.placed:
        option = "--local-search" if options.align else "--no-align"
        hint = f"give particles with poses, as a refinement writes them, or leave out {option}"
        table.require(*ANGLES, hint=hint)
    if len(table) < _FEWEST * classes:
        raise InputError(
            f"{len(table)} particles are too few for {classes} classes, expected "
            f"{_FEWEST * classes} or more",
            where=table.path,
            hint="give more particles or fewer classes",
        )


def within_box(options: Classify3dOptions, grid: Grid) -> Classify3dOptions:
    """Options whose resolution limit the maps' grid and the largest working box can hold."""
    coarsest = _PIXELS_A_RING * grid.field / options.box
    held = max(options.resolution_limit, coarsest, grid.nyquist)
    return replace(options, resolution_limit=held)


def check_options(options: Classify3dOptions, references: int, *, masked: bool) -> None:
    """Check all options against each other and the number of references.

    Raises
    ------
    OptionError
        For the first that cannot be used.
    """
    _check_choices(options, references, masked=masked)
    _check_numbers(options)
    asked_fixed(options, references)
    normalise_name(options.symmetry)


def check_classify3d(
    options: Classify3dOptions,
    table: ParticleSet,
    source: ImageSource,
    references: int,
    *,
    masked: bool,
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
    check_options(options, references, masked=masked)
    _check_particles(options, table, options.count(references))
    chosen_mask_diameter(options.mask_diameter, table, None)
    return preflighted(options, table, source, options.resolution_limit)
