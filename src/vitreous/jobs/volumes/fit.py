"""Fit a map or a model into a map."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vitreous.config.volumes import FitConfig
from vitreous.errors import OptionError
from vitreous.io.density import Density, read_density, write_density
from vitreous.io.models import density, is_model, read_model, write_moved
from vitreous.jobs.volumes.files import check_numbers, check_resolution, map_target, whole_cube
from vitreous.math.fourier import crop_or_pad
from vitreous.math.resampling import even_box, read_between
from vitreous.runs.folder import OnEvent, ignore
from vitreous.runs.targets import inputs_of, spared
from vitreous.validate.truth import align

_RESOLUTION = 10.0
"""Angstrom, by default: a subunit of a polymerase comes to lie 0.3 A from its place, not 1 A."""

_OTHER_HAND = 0.005
"""Correlation by which the other hand must be ahead to be spoken of."""


@dataclass(frozen=True)
class Fit:
    """Where a map or a model was put.

    Attributes
    ----------
    out : Path
    resolution : float
        Finest detail used, angstrom.
    correlation : float
        With the target, both low-passed to that.
    mirrored : bool
        Whether what was written was mirrored.
    as_it_is, mirror_image : float
        Correlation of either hand, in its best place.
    matrix : array (3, 3)
        Carries points (x, y, z) of what was given to the target's frame; of determinant -1 if it
        was mirrored.
    shift : array (3,)
        Then added, angstrom.
    warnings : tuple of str
    """

    out: Path
    resolution: float
    correlation: float
    mirrored: bool
    as_it_is: float
    mirror_image: float
    matrix: Float[np.ndarray, "3 3"]
    shift: Float[np.ndarray, " 3"]
    warnings: tuple[str, ...]


def _target(config: FitConfig) -> Path:
    """Where the result goes: a model for a model, a map for a map."""
    if not is_model(config.moving):
        return map_target(config.out, inputs_of(config), config.overwrite)
    if not is_model(config.out) or config.out.suffix == ".gz":
        raise OptionError(
            f"{config.out} is not named as a model, but {config.moving} is one",
            where="--out",
            hint="end it in .pdb or .cif",
        )
    return spared(config.out, inputs_of(config), config.overwrite)


def _moving(path: Path, target: Density) -> tuple[Float[Tensor, "n n n"], Float[np.ndarray, " 3"]]:
    """What is to be fitted, at the target's pixel size, and where its box centre lies in space."""
    pixel_size = target.pixel_size
    if is_model(path):
        model = read_model(path)
        box = target.values.shape[-1]
        return torch.from_numpy(density(model, box, pixel_size)), model.centre
    given = read_density(path)
    volume, step = whole_cube(given, path), pixel_size / given.pixel_size
    box = max(even_box(volume.shape[-1] + 1, 1 / step), target.values.shape[-1])
    return read_between(volume, (box, box, box), step), given.centre


def _warnings(config: FitConfig, as_it_is: float, mirror_image: float) -> tuple[str, ...]:
    if config.hand == "best" and mirror_image > as_it_is and is_model(config.moving):
        return ("The model was mirrored, so its chirality is wrong: flip the map's hand instead.",)
    if config.hand == "keep" and mirror_image > as_it_is + _OTHER_HAND:
        return (
            f"The other hand fits better ({mirror_image:.3f} against {as_it_is:.3f}): one of the "
            "two maps may want vitreous map flip-hand.",
        )
    return ()


def run_fit(config: FitConfig, on_event: OnEvent = ignore) -> Fit:
    """Fit a map or a model into a map and write it in its new place.

    Raises
    ------
    VitreousError
        For options or files that cannot be used.
    """
    check_numbers(config, positive=("resolution",))
    out = _target(config)
    target = read_density(config.target)
    fixed, pixel_size = whole_cube(target, config.target), target.pixel_size
    resolution = config.resolution or max(_RESOLUTION, 2 * pixel_size)
    check_resolution(resolution, target, config.target, "--resolution")
    moving, centre = _moving(config.moving, target)
    side = int(moving.shape[-1])
    fixed = crop_or_pad(fixed, side, 3)
    laid = []
    for hand in (False, True):
        on_event({"event": "progress", "stage": "fitting", "iteration": int(hand), "of": 2})
        found = align(moving, fixed, pixel_size, resolution=resolution, hands=(hand,))
        laid.append(found)
    on_event({"event": "progress", "stage": "fitting", "iteration": 2, "of": 2})
    as_it_is, mirror_image = (found.correlation for found in laid)
    best = laid[int(config.hand == "best" and mirror_image > as_it_is)]
    matrix = best.matrix @ np.diag([1.0, 1.0, -1.0 if best.mirrored else 1.0])
    shift = target.centre + best.shift * pixel_size - matrix @ centre
    if is_model(config.moving):
        write_moved(config.moving, out, matrix, shift)
    else:
        box = target.values.shape[-1]
        write_density(out, replace(target, values=crop_or_pad(best.volume, box, 3)))
    return Fit(
        out=out,
        resolution=resolution,
        correlation=best.correlation,
        mirrored=best.mirrored,
        as_it_is=as_it_is,
        mirror_image=mirror_image,
        matrix=matrix,
        shift=shift,
        warnings=_warnings(config, as_it_is, mirror_image),
    )
