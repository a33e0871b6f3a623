"""Options, particles and reference of a refinement, checked and brought together."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vitreous.errors import InputError, OptionError
from vitreous.io.mrc import read_map
from vitreous.jobs.check.before import look_before
from vitreous.jobs.compare import cubic, on_grid
from vitreous.jobs.config.refine import RefineConfig
from vitreous.jobs.em.engine import signal_scale
from vitreous.jobs.em.local_pass import Posed
from vitreous.jobs.em.search import image_power
from vitreous.jobs.images import few_particles, load_rings
from vitreous.jobs.maps.half_maps import read_mask
from vitreous.jobs.options import chosen_mask_diameter, device_for, flag
from vitreous.jobs.recorded import as_recorded
from vitreous.jobs.refine.everywhere import FINEST
from vitreous.jobs.refine.locality import Locality, check_locality, locality_of
from vitreous.jobs.refine.passes import first_stage
from vitreous.jobs.refine.state import RefineState
from vitreous.jobs.refine.task import SHARED_POSES, Task
from vitreous.math.fourier import resample_map, shell_index, shell_mean
from vitreous.math.symmetry import point_group
from vitreous.particles.contrast import read_scales
from vitreous.particles.grid import Grid, common_grid, grid_warnings
from vitreous.particles.groups import given_or_dealt
from vitreous.particles.poses import read_poses
from vitreous.particles.stack import open_images
from vitreous.particles.table import ParticleTable, read_particles, require_ctf
from vitreous.physics.filters import low_pass
from vitreous.physics.masks import soft_sphere
from vitreous.validate.reproducibility import agreement_with_mirror
from vitreous.validate.symmetry.turning import symmetrised

_LOWPASS = (30.0, 60.0)

_SYMMETRIC, _SURELY_SYMMETRIC = 0.5, 0.8
"""Correlations of a reference with itself turned by the group's operators, rotational averages
taken off, the least of which says: below the first, that it does not lie on the group's axes; below
the second, that it may not."""

_MARGIN = 2
"""Shells beyond its last that a box is given to look at a low-passed map in."""

_POLYHEDRAL = 12
"""Operators of the smallest polyhedral group."""

_FIRST_SHARE = 0.3
"""Of the images' power at low resolution that the reference is given in the first pass."""

_FIRST_SHIFT = 1.0
"""First step of the shifts round the particles' places, over the pixel of the widest frame."""


@dataclass(frozen=True)
class Begun:
    """All that a refinement begins with.

    Attributes
    ----------
    task : Task
    reference : tensor (n, n, n)
        Low-passed, on the maps' grid.
    warnings : list of str
    preflight : dict
    """

    task: Task
    reference: Float[Tensor, "n n n"]
    warnings: list[str]
    preflight: dict[str, Any]


def _check_options(config: RefineConfig) -> None:
    least, most = _LOWPASS
    if not least <= config.lowpass <= most:
        raise OptionError(
            f"{config.lowpass:g} A is outside {least:g} to {most:g}: a finer reference could bring "
            "its own detail into the map",
            where="--lowpass",
            mend=f"give {least:g} to {most:g}",
        )
    for name in ("offset_range", "offset_step", "join_halves"):
        if not getattr(config, name) > 0:
            where = flag(name)
            raise OptionError(f"{getattr(config, name):g} is not more than 0", where=where)
    if config.iterations < 2:
        raise OptionError(f"{config.iterations} is less than 2", where="--iterations")
    if config.local_search is not None and not 0 < config.local_search <= 15:
        raise OptionError(
            f"{config.local_search:g} degrees is outside 0 to 15",
            where="--local-search",
            mend="give the first angular step round the particles' own poses, such as 3.75",
        )


def _reference(
    config: RefineConfig, volume: Tensor, own: float, grid: Grid, operators: Tensor
) -> tuple[Tensor, list[str]]:
    """The reference, of ``own`` pixel size, on the maps' grid, low-passed, and its oddities."""
    box, pixel_size, given, warnings = grid.box, grid.pixel_size, Grid(len(volume), own), []
    if not given.like(grid):
        warnings.append(
            f"The reference has {given}, the particles {grid}: it was brought to their grid. If it "
            "looks too large or too small, its header's pixel size is wrong."
        )
    # The filter's edge is two shells wide: it is to end, not to begin, at the resolution given.
    shell = max(1.0, box * pixel_size / config.lowpass - 1)
    volume = on_grid(volume, own, box, pixel_size)
    volume = low_pass(volume, pixel_size, box * pixel_size / shell)
    if len(operators) > 1:
        coarse = resample_map(volume, min(box, 2 * (math.ceil(shell) + _MARGIN)))
        warnings += _axes_warnings(config, coarse, operators)
        coarse = symmetrised(coarse, operators)
        warnings += _mirror_warnings(config, coarse, box * pixel_size, len(operators))
        volume = resample_map(coarse, box)
    return volume, warnings


def _mirror_warnings(
    config: RefineConfig, volume: Float[Tensor, "n n n"], field: float, operators: int
) -> list[str]:
    """Tell of a reference that shows no hand, where that leads astray."""
    if operators < _POLYHEDRAL or config.local_search is not None:
        return []
    box = volume.shape[-1]
    ball = soft_sphere(box, 0.42 * box, 0.05 * box)
    alike = agreement_with_mirror(volume, ball, field / box, config.lowpass)
    if alike > 1.2 * config.lowpass:
        return []
    return [
        f"The reference cut at {config.lowpass:g} A is its own mirror image, as maps of "
        f"{config.symmetry} often are: the halves may fall into a false solution. Give "
        "particles with poses, such as those of abinit, and --local-search 3.75."
    ]


def _axes_warnings(
    config: RefineConfig, volume: Float[Tensor, "n n n"], operators: Float[Tensor, "s 3 3"]
) -> list[str]:
    """Require the group's axes where they should be; a warning where they may not be."""
    # Each by itself: one axis in its place would hide in a mean that the others are not.
    alike = min(_likeness(volume, symmetrised(volume, turn[None])) for turn in operators[1:])
    mend = f"vitreous symmetry {config.reference} --align {config.symmetry}"
    if alike < _SYMMETRIC:
        raise InputError(
            f"does not have the symmetry {config.symmetry} about the axes that RELION uses "
            f"(it correlates with itself turned at {alike:.2f}, expected {_SURELY_SYMMETRIC} or "
            "more)",
            where=config.reference,
            mend=f"lay it on them: {mend}; or refine without symmetry",
        )
    if alike >= _SURELY_SYMMETRIC:
        return []
    return [
        f"The reference correlates with itself turned by {config.symmetry} at {alike:.2f} only: it "
        f"is noisy, or off the axes that RELION uses. Look at {mend}."
    ]


def _likeness(a: Float[Tensor, "n n n"], b: Float[Tensor, "n n n"]) -> float:
    """Correlation of two maps without their rotational averages."""
    box = a.shape[-1]
    shell = shell_index(box, 3)
    inside = shell < box // 2
    parts = []
    for volume in (a, b):
        average = shell_mean(volume, shell, box // 2)
        parts.append(volume[inside] - average[shell[inside]])
    return float(torch.corrcoef(torch.stack(parts))[0, 1])


def begin(config: RefineConfig) -> Begun:
    """Check everything and read the reference.

    Raises
    ------
    VitreousError
        For the first thing that cannot be used.
    """
    _check_options(config)
    check_locality(config)
    table = read_particles(config.particles)
    source = open_images(table)
    if config.ctf:
        require_ctf(table)
    chosen_mask_diameter(config.mask_diameter, table, None)
    operators = point_group(config.symmetry)
    array, own = read_map(config.reference)
    volume = cubic(array, config.reference)
    grid = common_grid(table, [Grid(len(volume), own)])
    reference, warnings = _reference(config, volume, own, grid, operators)
    warnings += grid_warnings(table, grid)
    mask = None
    if config.mask is not None:
        found = read_mask(config.mask, table.path, grid.box, grid.pixel_size)
        mask, warnings = found.volume, [*warnings, *found.warnings]
    diameter, oddities, record = look_before(config, table, source)
    warnings += few_particles(len(table))
    halves = given_or_dealt(table, config.halves, config.seed)
    warnings += halves.warnings
    if config.local_search is not None and halves.dealt:
        warnings.append(SHARED_POSES)
    task = Task(
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
    return Begun(task, reference, [*warnings, *oddities], record)


def _locality(config: RefineConfig, table: ParticleTable) -> Locality | None:
    """Where the particles' own poses hold a local search, if this is one."""
    if config.local_search is None:
        return None
    poses = read_poses(table)
    origins = torch.from_numpy(poses.origins.astype(np.float32))
    return locality_of(config, Posed(torch.from_numpy(poses.matrices), origins))


def first_state(begun: Begun) -> RefineState:
    """The reference, at the images' grey level, for both halves; poses as given or none."""
    task, config = begun.task, begun.task.config
    frame = task.frame(config.lowpass)
    images = load_rings(task.table, task.source, frame, task.device, lambda _: None, task.mode)
    shells = frame.polar.rings
    scale = signal_scale(begun.reference[None], images, frame, shells, _FIRST_SHARE)
    power = image_power(images, len(task.table.optics))
    count, local = len(task.table), task.locality
    nowhere = Posed(torch.eye(3, dtype=torch.float64).repeat(count, 1, 1), torch.zeros(count, 2))
    start = nowhere if local is None else local.start
    return RefineState(
        iteration=0,
        stage=first_stage(task) if local is None else "nearby",
        step=config.local_search or FINEST / 2,
        shift_step=_FIRST_SHIFT * task.widest.pixel_size,
        shell=max(1, round(task.field / config.lowpass) - 2),
        evidence=-float("inf"),
        references=(begun.reference * scale).expand(2, -1, -1, -1).to(task.device),
        noise=power.expand(2, -1, -1),
        matrices=start.matrices,
        origins=start.origins,
        probability=torch.zeros(count),
        log_evidence=torch.zeros(count),
        scale=torch.from_numpy(read_scales(task.table)).float(),
    )
