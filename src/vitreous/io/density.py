"""Maps with their place in space, as the tools on maps read, carry and write them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vitreous.errors import InputError
from vitreous.io.mrc import cubic_voxel, in_order, load, write_map
from vitreous.io.mrc_header import MrcHeader
from vitreous.io.mrc_types import Mode, Point

MAP_SUFFIXES = (".mrc", ".map", ".ccp4")
"""Of files that maps are written to; .gz or .bz2 may follow."""

_LEAST_HALF = 1e-3
"""Largest value that a map stored in 16-bit reals must reach: steps are 6e-8 near zero."""


@dataclass(frozen=True)
class Density:
    """A map and where it lies.

    Attributes
    ----------
    values : tensor (z, y, x)
    pixel_size : float
        Angstrom.
    origin : tuple of float
        Where the first voxel lies, x, y, z in angstrom.
    """

    values: Float[Tensor, "z y x"]
    pixel_size: float
    origin: Point = (0.0, 0.0, 0.0)

    @property
    def centre(self) -> Float[np.ndarray, " 3"]:
        """Where the voxel n // 2 of every axis lies, x, y, z in angstrom."""
        middle = np.array(self.values.shape[::-1]) // 2
        return np.array(self.origin) + middle * self.pixel_size

    def regridded(
        self, values: Float[Tensor, "z2 y2 x2"], pixel_size: float | None = None
    ) -> Density:
        """The map on another grid, whose centre lies where that of this one lies."""
        moved = Density(values, pixel_size or self.pixel_size)
        x, y, z = (round(float(step), 6) for step in self.centre - moved.centre)
        return Density(values, moved.pixel_size, (x, y, z))


def _require_map(header: MrcHeader) -> None:
    if header.is_stack or min(header.shape) < 2:
        raise InputError(
            "holds images, expected a map",
            where=header.path,
            hint="give a map; one that is misnamed .mrcs can be renamed .mrc",
        )
    if any(angle not in (0, 90) for angle in header.angles):
        raise InputError(
            f"has a cell with the angles {', '.join(f'{a:g}' for a in header.angles)}",
            where=header.path,
            hint="give a map on a rectangular grid",
        )


def read_density(path: Path | str, pixel_size: float | None = None) -> Density:
    """Read a map along z, y, x with the place that its header gives.

    A ``pixel_size`` given is taken instead of the header's.

    Raises
    ------
    InputError
        For what cannot be read, a stack of images, an oblique cell, an unknown or unequal pixel
        size, and for values that are not finite.
    """
    header, stored = load(path, _require_map)
    size = cubic_voxel(header, pixel_size)
    values = in_order(header, stored)
    bad = values.size - int(np.isfinite(values).sum())
    if bad:
        raise InputError(
            f"holds {bad} values that are NaN or infinite", where=path, hint="write the map again"
        )
    return Density(torch.from_numpy(values), size, header.origin)


def encoded(values: Float[np.ndarray, "z y x"], mode: Mode) -> tuple[np.ndarray, float]:
    """Numbers as a mode stores them, and the factor that they were multiplied by to fit.

    Reals stay as they are.  Whole numbers that fit an integer mode stay as they are too; all else
    is multiplied so that the largest value, of either sign, is the largest that fits: zero stays
    zero, and levels keep their ratios.

    Raises
    ------
    InputError
        For values too large or too small for 16-bit reals.
    """
    largest = float(np.abs(values).max())
    if mode == "float32":
        return values, 1.0
    if mode == "float16":
        if largest > np.finfo(np.float16).max or 0 < largest < _LEAST_HALF:
            raise InputError(
                f"its largest value, {largest:g}, is not between {_LEAST_HALF:g} and 65504",
                hint="scale the map first, or choose another mode",
            )
        return values.astype(np.float16), 1.0
    top = np.iinfo(mode).max
    whole = largest <= top and bool((values == values.round()).all())
    factor = 1.0 if whole else top / largest
    return (values * factor).round().astype(mode), factor


def write_density(path: Path | str, density: Density, mode: Mode = "float32") -> float:
    """Write a map, whole or not at all; returns the factor of :func:`encoded`."""
    numbers, factor = encoded(density.values.numpy(), mode)
    write_map(path, numbers, density.pixel_size, origin=density.origin, dtype=np.dtype(mode))
    return factor
