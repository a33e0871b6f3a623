"""Options, particles and reference of a refinement, checked and brought together."""

from __future__ import annotations

import math

import numpy as np
import torch

from vitreous.config.refine import RefineConfig
from vitreous.engine.images import few_particles
from vitreous.engine.local_pass import PoseMatrices
from vitreous.engine.recorded import as_recorded
from vitreous.errors import OptionError
from vitreous.imaging.map_grid import cubic
from vitreous.io.mrc import read_map
from vitreous.jobs.check.before import preflighted
from vitreous.jobs.maps.half_maps import read_mask
from vitreous.jobs.particles.chosen import chosen_particles
from vitreous.math.symmetry import point_group
from vitreous.particles.grid import Grid, common_grid, grid_warnings
from vitreous.particles.groups import given_or_dealt
from vitreous.particles.particle_set import ParticleSet, require_ctf
from vitreous.particles.poses import ANGLES, read_poses
from vitreous.particles.stack import open_images
from vitreous.runs.options import chosen_mask_diameter, device_for, flag
from vitreous.schedules.refine.context import SHARED_POSES, Begun, RunContext
from vitreous.schedules.refine.locality import Locality, check_locality, locality_of
from vitreous.schedules.refine.reference import axes_warnings, on_maps_grid

_FINE_LOWPASS = 20.0
"""Resolution in angstrom from which a reference is coarse enough to leave halves independent."""

_SAME_VIEW = 1e-3
"""Views (unit vectors) that differ by less than this are one."""


def _check_options(config: RefineConfig) -> None:
    for name in ("lowpass", "offset_range", "offset_step", "join_halves"):
        if not 0 < getattr(config, name) < math.inf:
            where = flag(name)
            raise OptionError(f"{getattr(config, name):g} is not more than 0", where=where)
    if config.iterations < 2:
        raise OptionError(f"{config.iterations} is less than 2", where="--iterations")
    if config.local_search is not None and not 0 < config.local_search <= 15:
        raise OptionError(
            f"{config.local_search:g} degrees is outside 0 to 15",
            where="--local-search",
            hint="give the first angular step round the particles' own poses, such as 3.75",
        )
    if config.local_search is not None and config.ignore_poses:
        raise OptionError(
            "a local search begins from the particles' own poses, which --ignore-poses leaves out",
            where="--local-search, --ignore-poses",
            hint="give one of them",
        )


def lowpass_warnings(lowpass: float, nyquist: float) -> list[str]:
    """Require a resolution that the pixels hold; a warning where it is fine.

    Raises
    ------
    OptionError
    """
    if lowpass <= nyquist:
        raise OptionError(
            f"{lowpass:g} A is not coarser than the pixels' finest resolution, {nyquist:g} A",
            where="--lowpass",
            hint="give 20 to 60; ball-like particles may need 15",
        )
    if lowpass >= _FINE_LOWPASS:
        return []
    return [
        f"The reference is cut at {lowpass:g} A, finer than {_FINE_LOWPASS:g} A: both halves begin "
        "with its detail, and may agree on it whether the images show it or not. Agreement is "
        "claimed only well beyond it."
    ]


def _posed(table: ParticleSet) -> PoseMatrices:
    poses = read_poses(table)
    origins = torch.from_numpy(poses.origins.astype(np.float32))
    return PoseMatrices(torch.from_numpy(poses.matrices), origins)


def brought_poses(table: ParticleSet) -> PoseMatrices | None:
    """Poses that the particles bring, origins in angstrom.

    None without angles, or where all are of one view, as 2D classification leaves them.
    """
    if not table.has(*ANGLES):
        return None
    poses = _posed(table)
    views = poses.matrices[:, 2]
    return None if float((views - views[0]).abs().max()) < _SAME_VIEW else poses


def begin(config: RefineConfig) -> Begun:
    """Check everything and read the reference.

    Raises
    ------
    VitreousError
        For the first thing that cannot be used.
    """
    _check_options(config)
    check_locality(config)
    table = chosen_particles(config)
    source = open_images(table)
    if config.ctf:
        require_ctf(table)
    chosen_mask_diameter(config.mask_diameter, table, None)
    operators = point_group(config.symmetry)
    array, own = read_map(config.reference)
    volume = cubic(array, config.reference)
    grid = common_grid(table, [Grid(len(volume), own)])
    warnings = lowpass_warnings(config.lowpass, grid.nyquist)
    reference, odd = on_maps_grid(volume, own, grid)
    warnings += [*odd, *axes_warnings(config, reference, grid, operators)]
    warnings += grid_warnings(table, grid)
    mask = None
    if config.mask is not None:
        found = read_mask(config.mask, table.path, grid.box, grid.pixel_size)
        mask, warnings = found.volume, [*warnings, *found.warnings]
    diameter, found_warnings, record = preflighted(config, table, source)
    warnings += few_particles(len(table))
    halves = given_or_dealt(table, config.halves, config.seed)
    warnings += halves.warnings
    if config.local_search is not None and halves.dealt:
        warnings.append(SHARED_POSES)
    context = RunContext(
        config,
        table,
        as_recorded(source, ctf=config.ctf),
        halves,
        operators,
        diameter,
        mask,
        device_for(config.device),
        grid,
        _locality(config, table),
    )
    poses = None if config.ignore_poses else brought_poses(table)
    return Begun(context, reference, poses, [*warnings, *found_warnings], record)


def _locality(config: RefineConfig, table: ParticleSet) -> Locality | None:
    """Where the particles' own poses hold a local search, if this is one."""
    return None if config.local_search is None else locality_of(config, _posed(table))
