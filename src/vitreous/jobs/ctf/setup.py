"""Particles and maps of a CTF refinement, read and checked."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from vitreous.config.ctf import CtfRefineConfig
from vitreous.errors import InputError, OptionError
from vitreous.imaging.map_grid import cubic
from vitreous.io.mrc import read_map
from vitreous.jobs.ctf.comparison import RunContext, reference
from vitreous.jobs.maps.half_maps import open_half_maps
from vitreous.particles.files import read_particles
from vitreous.particles.groups import given_halves
from vitreous.particles.particle_set import ParticleSet, require_ctf
from vitreous.particles.poses import read_poses
from vitreous.particles.stack import open_images
from vitreous.runs.options import device_for
from vitreous.validate.fsc import fsc, resolution_at

_OF_GROUPS = ("beam_tilt", "trefoil", "magnification")
_OF_PARTICLES = ("defocus", "astigmatism")

_THRESHOLD = 0.143
"""FSC that the finest detail compared is read at."""


def check_options(config: CtfRefineConfig) -> None:
    """Check the options against each other.

    Raises
    ------
    OptionError
        For the first that cannot be used.
    """
    if not any(getattr(config, name) for name in (*_OF_PARTICLES, *_OF_GROUPS)):
        raise OptionError(
            "nothing to refine",
            where="vitreous ctf-refine",
            hint="pass --defocus, --astigmatism, --beam-tilt, --trefoil or --magnification",
        )
    halves = [config.half1, config.half2].count(None)
    if not (halves == 0 and config.map is None) and not (halves == 2 and config.map is not None):
        raise OptionError(
            "expected either two half-maps or one map",
            where="--half1, --half2, --map",
            hint="give --half1 and --half2, or --map alone",
        )
    for value, where in (
        (config.resolution_limit, "--resolution-limit"),
        (config.lowest_resolution, "--lowest-resolution"),
        (config.defocus_range, "--defocus-range"),
    ):
        if value is not None and not (math.isfinite(value) and value > 0):
            raise OptionError(f"{value:g} A, expected more than 0", where=where, hint="mend it")


def _check_table(config: CtfRefineConfig, table: ParticleSet) -> None:
    require_ctf(table)
    if table.state.premultiplied.any():
        raise InputError(
            "the images were multiplied by their CTF "
            f"({table.called(ParticleSet.ctf_multiplied)}), which a better defocus would no longer "
            "fit",
            where=table.path,
            hint="extract the particles without multiplying them, and again afterwards with it",
        )
    asked = [name for name in _OF_GROUPS if getattr(config, name)]
    if asked and not table.carried.has_optics:
        raise InputError(
            f"has no optics table (RELION 3.0), which {' and '.join(asked)} would be written to",
            where=table.path,
            hint="convert it with relion_convert_star",
        )
    for group in table.optics:
        if config.beam_tilt and group.cs == 0:
            raise InputError(
                f"optics group {group.number} has no spherical aberration, so that beam tilt "
                "leaves no trace",
                where=table.path,
                hint="refine without --beam-tilt",
            )
    if config.astigmatism and not table.has(ParticleSet.micrograph):
        raise InputError(
            f"no column {table.called(ParticleSet.micrograph)}, which --astigmatism groups "
            "particles by",
            where=table.path,
            hint="add it or refine without --astigmatism",
        )


def _halves(
    config: CtfRefineConfig, table: ParticleSet
) -> tuple[Int[np.ndarray, " n"], tuple[str, ...]]:
    """Index of the map that each particle is compared with, and warnings."""
    if config.map is not None:
        return np.zeros(len(table), dtype=np.int64), ()
    hint = "give the particles of a gold-standard refinement, or one map with --map"
    found = given_halves(table, hint)
    # A particle's own noise is in the map of its half, where it speaks for the present values.
    return 2 - found.half, found.warnings


@dataclass(frozen=True)
class _Maps:
    """Masked maps to compare particles with.

    Attributes
    ----------
    volumes : tuple of tensor (n, n, n)
    pixel_size, finest : float
        Angstrom; the finest detail that they hold.
    warnings : tuple of str
    """

    volumes: tuple[Float[Tensor, "n n n"], ...]
    pixel_size: float
    finest: float
    warnings: tuple[str, ...] = ()


def _maps(config: CtfRefineConfig) -> _Maps:
    """Half-maps and what they agree to, or one map, to be believed up to Nyquist."""
    if config.half1 is not None and config.half2 is not None:
        halves = open_half_maps(
            config.half1, config.half2, mask=config.mask, pixel_size=config.pixel_size
        )
        maps = (halves.half1 * halves.mask.volume, halves.half2 * halves.mask.volume)
        curve = fsc(*maps).numpy()
        finest = resolution_at(curve, _THRESHOLD, halves.box, halves.pixel_size)
        return _Maps(maps, halves.pixel_size, finest or math.inf, halves.mask.warnings)
    assert config.map is not None
    array, pixel_size = read_map(config.map, config.pixel_size)
    volume = cubic(array, config.map)
    if config.mask is not None:
        mask, _ = read_map(config.mask, config.pixel_size)
        if mask.shape != volume.shape:
            raise InputError(
                f"has a box of {mask.shape[0]} px, but {config.map} one of {volume.shape[0]} px",
                where=config.mask,
                hint="give a mask on the map's grid",
            )
        volume = volume * torch.from_numpy(mask)
    return _Maps((volume,), pixel_size, 2 * pixel_size)


def table_warnings(table: ParticleSet) -> list[str]:
    """What a user should know of the particles before they are refined."""
    if not table.state.flipped.any():
        return list(table.notes)
    words = (
        "The images' phases stay flipped by the CTF of before: extract the particles again with "
        "the new one."
    )
    return [*table.notes, words]


def open_context(config: CtfRefineConfig) -> RunContext:
    """Read and check everything; the reference goes to the job's device.

    Raises
    ------
    VitreousError
        For files and options that cannot be used.
    """
    check_options(config)
    device = device_for(config.device)
    table = read_particles(config.particles)
    _check_table(config, table)
    source, poses = open_images(table), read_poses(table)
    half, doubts = _halves(config, table)
    maps = _maps(config)
    finest = max(config.resolution_limit or maps.finest, 2 * maps.pixel_size)
    if finest > config.lowest_resolution / 2:
        raise OptionError(
            f"detail from {config.lowest_resolution:g} to {finest:.1f} A is too little to compare",
            where="--resolution-limit, --lowest-resolution",
            hint="give better maps, a finer --resolution-limit or a coarser --lowest-resolution",
        )
    volumes = tuple(volume.to(device) for volume in maps.volumes)
    return RunContext(
        table,
        source,
        poses,
        half,
        reference(volumes, maps.pixel_size, finest, gradients=config.magnification),
        finest,
        config.lowest_resolution,
        config.seed,
        (*doubts, *maps.warnings),
    )
