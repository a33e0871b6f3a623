"""Write a decoy on the grid of a map."""

from __future__ import annotations

from dataclasses import replace

from jaxtyping import Float
from torch import Tensor

from vitreous.config.volumes import DecoyConfig, NoiseConfig, SphereConfig
from vitreous.errors import InputError, OptionError
from vitreous.imaging.decoys import blob, intensity_scale, noise_like
from vitreous.imaging.envelope import mask_of_one
from vitreous.io.density import read_density, write_density
from vitreous.jobs.volumes.change import Written
from vitreous.jobs.volumes.files import check_numbers, check_resolution, map_target, whole_cube
from vitreous.runs.targets import inputs_of


def _level(config: SphereConfig, volume: Float[Tensor, "n n n"], pixel_size: float) -> float:
    """The level given, or the map's own."""
    if config.level is not None:
        return config.level
    # No margin: solvent within the mask would make the ball too faint.
    made = mask_of_one(volume, pixel_size, extend=0, edge=0)
    if made is None:
        raise InputError(
            "no density stands out of the noise to take the grey level from",
            where=config.like,
            hint="give --level",
        )
    return intensity_scale(volume, made.mask)


def _ball(
    config: SphereConfig, volume: Float[Tensor, "n n n"], pixel_size: float
) -> tuple[Float[Tensor, "n n n"], str]:
    width = volume.shape[-1] * pixel_size
    if 2 * (config.radius + config.edge) > width:
        raise OptionError(
            f"a ball of {config.radius:g} A and its edge of {config.edge:g} A do not fit the box "
            f"of {width:g} A",
            where="--radius",
            hint="give a smaller radius or edge",
        )
    level = _level(config, volume, pixel_size)
    ball = blob(volume.shape[-1], pixel_size, config.radius, config.edge, level)
    return ball, f"density {level:.4g}"


def run_decoy(config: DecoyConfig) -> Written:
    """Write a ball or noise on the grid of a map.

    Raises
    ------
    VitreousError
        For options or a map that cannot be used.
    """
    check_numbers(config, positive=("radius", "resolution"), not_negative=("edge", "seed"))
    out = map_target(config.out, inputs_of(config), config.overwrite)
    like = read_density(config.like)
    volume, said = whole_cube(like, config.like), ""
    if isinstance(config, SphereConfig):
        values, said = _ball(config, volume, like.pixel_size)
    elif isinstance(config, NoiseConfig):
        if config.resolution is not None:
            check_resolution(config.resolution, like, config.like, "--resolution")
        values = noise_like(volume, like.pixel_size, config.seed, config.resolution)
    else:
        raise NotImplementedError(type(config).__name__)
    write_density(out, replace(like, values=values))
    return Written(out, said)
