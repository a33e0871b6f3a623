"""The verbs that make one map of each map given."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import singledispatch
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vitreous.config import volumes as verbs
from vitreous.errors import InputError, OptionError
from vitreous.imaging.envelope import mask_above, mask_of_one, usual_widths
from vitreous.imaging.filters import high_pass, low_pass, with_b_factor
from vitreous.io.density import Density, read_density, write_density
from vitreous.io.mrc_types import Mode, Point
from vitreous.jobs.volumes.files import (
    check_box,
    check_numbers,
    check_resolution,
    targets,
    whole_cube,
)
from vitreous.math.fourier import crop_or_pad
from vitreous.math.group_names import normalise_name
from vitreous.math.moments import centre_of_mass
from vitreous.math.resampling import even_box, moved, read_between
from vitreous.math.rotations import euler_to_matrix
from vitreous.math.symmetry import point_group
from vitreous.validate.symmetry.rotate import rotate_map, symmetrise_map
from vitreous.validate.truth import mirrored

_POSITIVE = ("resolution", "pixel_size", "lowpass")
_NOT_NEGATIVE = ("edge", "extend")


@dataclass(frozen=True)
class Written:
    """One map that was made.

    Attributes
    ----------
    path : Path
    said : str
        What a user would want to know of how it was made, if anything.
    """

    path: Path
    said: str = ""


@dataclass(frozen=True)
class _Change:
    """A changed map and how it is to be written."""

    density: Density
    said: str = ""
    mode: Mode = "float32"


@singledispatch
def _change(config: verbs.ChangeConfig, density: Density, path: Path) -> _Change:
    """What the verb of this configuration makes of a map."""
    raise NotImplementedError(type(config).__name__)


def _valued(density: Density, values: Float[Tensor, "z y x"], said: str = "") -> _Change:
    return _Change(replace(density, values=values), said)


@_change.register
def _(config: verbs.FilterConfig, density: Density, path: Path) -> _Change:
    check_resolution(config.resolution, density, path, "--resolution")
    filtered = high_pass if isinstance(config, verbs.HighpassConfig) else low_pass
    volume = whole_cube(density, path)
    return _valued(density, filtered(volume, density.pixel_size, config.resolution, config.edge))


@_change.register
def _(config: verbs.BfactorConfig, density: Density, path: Path) -> _Change:
    volume = whole_cube(density, path)
    return _valued(density, with_b_factor(volume, density.pixel_size, config.bfactor))


@_change.register
def _(config: verbs.ScaleConfig, density: Density, path: Path) -> _Change:
    return _valued(density, density.values * config.factor + config.add)


@_change.register
def _(config: verbs.InvertConfig, density: Density, path: Path) -> _Change:
    return _valued(density, -density.values)


def _moved(density: Density, shift: Point, where: str) -> Float[Tensor, "z y x"]:
    """Values moved by angstroms along x, y and z, unless all would leave the box."""
    pixels = [step / density.pixel_size for step in shift]
    for step, n in zip(pixels, density.values.shape[::-1], strict=True):
        if abs(step) >= n:
            raise OptionError(
                f"moves all density out of the box of {n * density.pixel_size:g} A",
                where=where,
                hint="give angstroms, fewer than the box is wide",
            )
    return moved(density.values, (pixels[0], pixels[1], pixels[2]))


@_change.register
def _(config: verbs.ShiftConfig, density: Density, path: Path) -> _Change:
    return _valued(density, _moved(density, config.by, "--by"))


@_change.register
def _(config: verbs.RecentreConfig, density: Density, path: Path) -> _Change:
    if config.at is None:
        steps = -centre_of_mass(density.values, config.threshold).numpy() * density.pixel_size
        if np.isnan(steps).any():
            raise InputError(
                f"has no density above {config.threshold:g}",
                where=path,
                hint="give a lower --threshold",
            )
    else:
        steps = density.centre - np.array(config.at)
    shift = (float(steps[0]), float(steps[1]), float(steps[2]))
    said = f"moved by {', '.join(f'{step:.2f}' for step in shift)} A along x, y, z"
    return _valued(density, _moved(density, shift, "--at"), said)


@_change.register
def _(config: verbs.ResampleConfig, density: Density, path: Path) -> _Change:
    own, shape = density.pixel_size, tuple(density.values.shape)
    if config.pixel_size is not None:
        new, where = config.pixel_size, "--pixel-size"
    elif config.box is not None:
        new, where = own * whole_cube(density, path).shape[0] / max(config.box, 1), "--box"
    else:
        raise OptionError("neither is given", where="--pixel-size, --box", hint="give one or both")
    boxes = tuple(even_box(n, own / new) if config.box is None else config.box for n in shape)
    for box in boxes:
        check_box(box, where)
    return _Change(density.regridded(read_between(density.values, boxes, new / own), new))


def _framed(density: Density, box: int, fill: float = 0.0) -> _Change:
    return _Change(density.regridded(crop_or_pad(density.values, (box,) * 3, 3, fill)))


@_change.register
def _(config: verbs.CropConfig, density: Density, path: Path) -> _Change:
    check_box(config.box, "--box")
    if config.box > min(density.values.shape):
        raise OptionError(
            f"{config.box} px is larger than {path}, which is "
            f"{' x '.join(map(str, density.values.shape))} px",
            where="--box",
            hint="give a smaller box, or enlarge the map with vitreous map pad",
        )
    return _framed(density, config.box)


@_change.register
def _(config: verbs.PadConfig, density: Density, path: Path) -> _Change:
    check_box(config.box, "--box")
    if config.box < max(density.values.shape):
        raise OptionError(
            f"{config.box} px is smaller than {path}, which is "
            f"{' x '.join(map(str, density.values.shape))} px",
            where="--box",
            hint="give a larger box, or cut the map with vitreous map crop",
        )
    return _framed(density, config.box, config.fill)


@_change.register
def _(config: verbs.RotateConfig, density: Density, path: Path) -> _Change:
    angles = torch.tensor([config.rot, config.tilt, config.psi], dtype=torch.float64)
    matrix = euler_to_matrix(*angles).numpy()
    matrix = matrix.T if config.inverse else matrix
    return _valued(density, rotate_map(whole_cube(density, path), matrix, np.zeros(3)))


@_change.register
def _(config: verbs.FlipHandConfig, density: Density, path: Path) -> _Change:
    return _valued(density, mirrored(density.values, "zyx".index(config.axis)))


@_change.register
def _(config: verbs.SymmetriseConfig, density: Density, path: Path) -> _Change:
    operators = point_group(config.symmetry)
    return _valued(density, symmetrise_map(whole_cube(density, path), operators))


@_change.register
def _(config: verbs.MaskConfig, density: Density, path: Path) -> _Change:
    volume, pixel = whole_cube(density, path), density.pixel_size
    extend, edge = (
        usual if given is None else given / pixel
        for given, usual in zip((config.extend, config.edge), usual_widths(pixel), strict=True)
    )
    if config.threshold is None:
        made = mask_of_one(volume, pixel, extend, edge)
        if made is None:
            raise InputError(
                "no density stands out of the noise, even at 40 A, to make a mask round",
                where=path,
                hint="give --threshold",
            )
        said = f"density above {made.threshold:.4g} at {made.low_pass:g} A"
        return _valued(density, made.mask, said)
    if config.lowpass is not None:
        check_resolution(config.lowpass, density, path, "--lowpass")
        volume = low_pass(volume, pixel, config.lowpass)
    if float(volume.max()) < config.threshold:
        raise InputError(
            f"nowhere reaches {config.threshold:g}; its largest value is {float(volume.max()):.4g}",
            where=path,
            hint="give a lower --threshold",
        )
    return _valued(density, mask_above(volume, config.threshold, extend, edge))


@_change.register
def _(config: verbs.ConvertConfig, density: Density, path: Path) -> _Change:
    placed = replace(density, origin=config.origin or density.origin)
    return _Change(placed, mode=config.mode)


def _check(config: verbs.ChangeConfig) -> None:
    """What can be told without a map."""
    check_numbers(config, positive=_POSITIVE, not_negative=_NOT_NEGATIVE)
    if isinstance(config, verbs.SymmetriseConfig):
        normalise_name(config.symmetry)
    if isinstance(config, verbs.MaskConfig) and config.threshold is None and config.lowpass:
        raise OptionError(
            "goes with a threshold: without one the filter is chosen too",
            where="--lowpass",
            hint="give --threshold as well, or neither",
        )


def run_change(config: verbs.ChangeConfig) -> list[Written]:
    """Make a map of each map given, as the verb of the configuration does.

    Raises
    ------
    VitreousError
        For options, files or maps that cannot be used; the maps before the one at fault are
        written.
    """
    _check(config)
    given = config.pixel_size if isinstance(config, verbs.ConvertConfig) else None
    written = []
    for path, target in zip(
        config.inputs, targets(config.inputs, config.out, config.overwrite), strict=True
    ):
        made = _change(config, read_density(path, given), path)
        factor = write_density(target, made.density, made.mode)
        scaled = f"multiplied by {factor:.6g} to fit {made.mode}"
        written.append(Written(target, made.said if factor == 1 else scaled))
    return written
