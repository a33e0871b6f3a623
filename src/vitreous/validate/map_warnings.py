"""What is odd about a map file: its header, and the numbers in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitreous.io.mrc_header import MrcHeader
from vitreous.math.fourier import good_box

_UNEQUAL = 1.01
"""Ratio of the axes' pixel sizes from which voxels are no cubes."""

_USUAL_PIXELS = (0.2, 20.0)
"""Angstrom; a pixel size beyond is likely to be in other units, or wrong."""


@dataclass(frozen=True)
class Statistics:
    """Of the finite values of a map.

    Attributes
    ----------
    minimum, maximum, mean, standard_deviation : float
        NaN where no value is finite.
    not_finite : int
        Values that are NaN or infinite.
    """

    minimum: float
    maximum: float
    mean: float
    standard_deviation: float
    not_finite: int


def statistics(values: NDArray[Any]) -> Statistics:
    """Range, mean and spread of the finite values."""
    finite = np.isfinite(values)
    bad = int(values.size - finite.sum())
    kept = values[finite] if bad else values
    if not kept.size:
        return Statistics(*(float("nan"),) * 4, bad)
    mean, spread = float(kept.mean(dtype=np.float64)), float(kept.std(dtype=np.float64))
    return Statistics(float(kept.min()), float(kept.max()), mean, spread, bad)


def header_warnings(header: MrcHeader) -> list[str]:
    """What a header says that some program, or this one, will not take as meant."""
    # Between the images of a stack there is no distance: programs write anything there.
    axes = header.pixel_size[:2] if header.is_stack else header.pixel_size
    low, high = min(axes), max(axes)
    sections, rows, columns = header.shape
    shape = f"{columns} x {rows} x {sections}"
    found = []
    for odd, what in (
        (header.is_stack, "a stack of images by its name or header, not a map"),
        (sections == 1, "a single image, not a map"),
        (
            sections > 1 and not header.is_stack and len({sections, rows, columns}) > 1,
            f"not a cube ({shape}): most programs want one, see vitreous map pad",
        ),
        (low <= 0, "no pixel size in the header: see vitreous map convert --pixel-size"),
        (low > 0 and high > _UNEQUAL * low, "voxels that are not cubes"),
        (
            0 < low < _USUAL_PIXELS[0] or high > _USUAL_PIXELS[1],
            f"an unlikely pixel size, {low:g} A",
        ),
        (
            low == high == 1.0,
            "a pixel size of exactly 1 A, which programs write that do not know it",
        ),
        (
            header.axes != (1, 2, 3),
            f"axes in the order {''.join('xyz'[axis - 1] for axis in header.axes)} from fast to "
            "slow, which some programs ignore",
        ),
        (
            any(angle not in (0, 90) for angle in header.angles),
            "a cell that is not rectangular",
        ),
        (
            any(abs(place) > 1e-4 for place in header.origin),
            "an origin away from zero: some programs go by it, others ignore it",
        ),
        (
            header.mode in (0, 6),
            f"numbers of mode {header.mode}, whose sign programs do not agree on",
        ),
        (header.dtype.byteorder == ">", "big-endian numbers, which some programs cannot read"),
        (
            not header.is_stack and good_box(columns) != columns,
            f"a box of {columns} px, slow to transform: {good_box(columns)} px would be faster",
        ),
    ):
        if odd:
            found.append(what)
    return found


def value_warnings(found: Statistics) -> list[str]:
    """What the numbers tell by themselves."""
    if found.not_finite:
        return [f"{found.not_finite} values that are NaN or infinite"]
    if found.standard_deviation == 0:
        return ["nothing but zeros" if found.maximum == 0 else f"nothing but {found.maximum:g}"]
    return []
