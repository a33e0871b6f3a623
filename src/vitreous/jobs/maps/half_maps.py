"""Two half-maps and their mask, read and checked."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vitreous.config.maps import OfHalfMaps
from vitreous.errors import InputError, OptionError
from vitreous.imaging.envelope import automatic_mask, grown, usual_widths
from vitreous.imaging.map_grid import cubic
from vitreous.imaging.masks import soft_sphere
from vitreous.io.mrc import read_map
from vitreous.validate.fsc import fsc
from vitreous.validate.half_maps import HalfMapCurves, half_map_curves
from vitreous.validate.masked_before import MaskedBefore, masked_before

_SAME_PIXEL = 0.01
"""Relative difference between pixel sizes that a header may make by rounding."""

_IDENTICAL = 0.9999
"""FSC that two independent halves never keep up to Nyquist."""

_SLACK = 1e-3
"""By which a mask may leave 0 to 1, after resampling for instance."""

_SPHERE_EDGE = 5.0
"""Pixels of a spherical mask's soft edge."""

_UNMASKED = "give half-maps as reconstructed, such as RELION's run_half1_class001_unfil.mrc"

_LEAST_VOXELS = 500
"""Voxels that must be left to compare half-maps in."""

_HARD = 0.01
"""Share of a mask's volume that its edge takes at least, unless it is cut hard."""


@dataclass(frozen=True)
class Mask:
    """A mask and where it came from.

    Attributes
    ----------
    volume : tensor (n, n, n)
        From 0 to 1.
    record : dict
        For ``result.json``.
    warnings : tuple of str
    """

    volume: Float[Tensor, "n n n"]
    record: dict[str, Any]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class HalfMaps:
    """Two half-maps on one grid, with a mask.

    Attributes
    ----------
    half1, half2 : tensor (n, n, n)
    pixel_size : float
        Angstrom.
    mask : Mask
        Within the earlier one, where half-maps were masked before.
    masked_before : MaskedBefore or None
        The mask that they were multiplied by, if that can be felt in ``mask``.
    """

    half1: Float[Tensor, "n n n"]
    half2: Float[Tensor, "n n n"]
    pixel_size: float
    mask: Mask
    masked_before: MaskedBefore | None = None

    def to(self, device: torch.device) -> HalfMaps:
        """The same on another device."""
        mask = replace(self.mask, volume=self.mask.volume.to(device))
        half1, half2 = self.half1.to(device), self.half2.to(device)
        return replace(self, half1=half1, half2=half2, mask=mask)

    @property
    def box(self) -> int:
        """Pixels."""
        return int(self.half1.shape[-1])

    @property
    def mean(self) -> Float[Tensor, "n n n"]:
        """The whole map."""
        return (self.half1 + self.half2) / 2

    def curves(self, seed: int) -> HalfMapCurves:
        """FSC within the mask and without; ``seed`` is that of the random phases."""
        before = self.masked_before is not None
        return half_map_curves(self.half1, self.half2, self.mask.volume, seed, masked_before=before)

    def wider_fsc(self) -> dict[str, Float[np.ndarray, " s"]]:
        """FSC within wider masks: ``loose``, the mask grown once more, and ``spherical``.

        The first has as soft an edge as usual; the other is the ball that fits into the box.
        """
        inside = (self.mask.volume > 0.5).cpu().numpy()
        grown_once = grown(inside, *usual_widths(self.pixel_size)).to(self.half1)
        ball = soft_sphere(self.box, self.box / 2 - _SPHERE_EDGE, _SPHERE_EDGE).to(self.half1)
        return {
            name: fsc(self.half1 * mask, self.half2 * mask).cpu().numpy()
            for name, mask in (("loose", grown_once), ("spherical", ball))
        }

    def record(self) -> dict[str, Any]:
        """Entries of ``result.json`` on what was read."""
        share = float(self.mask.volume.mean())
        return {
            "input": {"box": self.box, "pixel_size": self.pixel_size},
            "mask": {
                **self.mask.record,
                "volume_fraction": share,
                "masked_before": self.masked_before is not None,
            },
        }


def _read(path: Path, pixel_size: float | None) -> tuple[Float[Tensor, "n n n"], float]:
    array, own = read_map(path, pixel_size)
    return cubic(array, path), own


def same_grid(path: Path, box: int, own: float, like: Path, n: int, pixel_size: float) -> None:
    """Refuse a map of ``box`` pixels of ``own`` angstrom beside another one.

    Raises
    ------
    InputError
    """
    if box != n:
        raise InputError(
            f"has a box of {box} px, but {like} one of {n} px",
            where=path,
            hint="give maps and masks on one grid, for instance those of one refinement",
        )
    if abs(own / pixel_size - 1) > _SAME_PIXEL:
        raise InputError(
            f"has pixels of {own:g} A, but {like} of {pixel_size:g} A",
            where=path,
            hint="give files of one refinement, or mend their headers (or --pixel-size, for all)",
        )


def read_mask(
    path: Path, like: Path, n: int, pixel_size: float, given: float | None = None
) -> Mask:
    """Read a mask and check it: values from 0 to 1, on the grid of the map ``like``.

    Parameters
    ----------
    path : Path
    like : Path
        The map or particles whose box ``n`` (pixels) and ``pixel_size`` (angstrom) it must have.
    given : float, optional
        Pixel size that is taken instead of the header's.

    Raises
    ------
    InputError
        For a mask on another grid, with other values, or with nothing inside.
    """
    array, own = read_map(path, given)
    mask = torch.from_numpy(array)
    if len(set(mask.shape)) != 1:
        raise InputError(
            f"is {' x '.join(map(str, mask.shape))}, expected a cube",
            where=path,
            hint="give a mask on the map's grid",
        )
    same_grid(path, int(mask.shape[-1]), own, like, n, pixel_size)
    low, high = float(mask.min()), float(mask.max())
    if low < -_SLACK or high > 1 + _SLACK:
        raise InputError(
            f"holds values from {low:g} to {high:g}, expected a mask from 0 to 1",
            where=path,
            hint="give a mask rather than a map, or scale it",
        )
    if high < 0.5:
        raise InputError(
            f"holds no value above {high:g}, so nothing lies within it",
            where=path,
            hint="give a mask that is 1 where the molecule is",
        )
    core, edge = (mask >= 0.99).sum(), ((mask > 0.01) & (mask < 0.99)).sum()
    hard = bool(edge < _HARD * core) and bool(core < mask.numel())
    words = f"The mask {path.name} has a hard edge, which makes false detail: soften it."
    return Mask(mask.clamp(0, 1), {"source": str(path)}, (words,) if hard else ())


def _sphere(n: int, pixel_size: float, diameter: float) -> Mask:
    if not 0 < diameter <= n * pixel_size:
        raise OptionError(
            f"{diameter:g} A is not between 0 and the box of {n * pixel_size:g} A",
            where="--mask-diameter",
            hint="give the molecule's largest diameter, with a margin",
        )
    sphere = soft_sphere(n, diameter / 2 / pixel_size, _SPHERE_EDGE)
    return Mask(sphere, {"source": "sphere", "diameter": diameter})


def _automatic(
    first: Float[Tensor, "n n n"], second: Float[Tensor, "n n n"], pixel_size: float, half: Path
) -> Mask:
    made = automatic_mask(first, second, pixel_size)
    if made is None:
        raise InputError(
            "no density stands out of the noise, even at 40 A, to make a mask round",
            where=half,
            hint="give --mask or --mask-diameter",
        )
    record = {
        "source": "automatic",
        "low_pass": made.low_pass,
        "threshold": made.threshold,
        "extend_px": made.extend,
        "edge_px": made.edge,
    }
    return Mask(made.mask, record)


def open_half_maps(
    half1: Path,
    half2: Path,
    *,
    mask: Path | None = None,
    mask_diameter: float | None = None,
    pixel_size: float | None = None,
) -> HalfMaps:
    """Read two half-maps and the mask given for them, or make one.

    Raises
    ------
    VitreousError
        For files that cannot be read, halves or a mask on different grids, one map given twice,
        values outside 0 to 1 in the mask, and where no density stands out to mask.
    """
    if mask is not None and mask_diameter is not None:
        raise OptionError("two masks", where="--mask, --mask-diameter", hint="give one of them")
    if pixel_size is not None and not (math.isfinite(pixel_size) and pixel_size > 0):
        raise OptionError(
            f"{pixel_size:g} A, expected more than 0", where="--pixel-size", hint="give angstroms"
        )
    first, size = _read(half1, pixel_size)
    second, own = _read(half2, pixel_size)
    n = int(first.shape[-1])
    same_grid(half2, int(second.shape[-1]), own, half1, n, size)
    if float(fsc(first, second)[1:].min()) > _IDENTICAL:
        raise InputError(
            f"is the same map as {half1}: their FSC is 1 in every shell",
            where=half2,
            hint="give the maps of two independent halves of the particles",
        )
    if mask is not None:
        found = read_mask(mask, half1, n, size, pixel_size)
    elif mask_diameter is not None:
        found = _sphere(n, size, mask_diameter)
    else:
        found = _automatic(first, second, size, half1)
    return _within_earlier_mask(HalfMaps(first, second, size, found), half1)


def _within_earlier_mask(halves: HalfMaps, path: Path) -> HalfMaps:
    """The same with a mask inside of one that the half-maps were multiplied by before, if any.

    Raises
    ------
    InputError
        If nothing is left inside of it.
    """
    before = masked_before(halves.half1, halves.half2)
    if before is None or not before.touches(halves.mask.volume):
        return halves
    narrow = halves.mask.volume * before.inner(usual_widths(halves.pixel_size)[1])
    left = float(narrow.mean())
    if float((narrow > 0.5).sum()) < _LEAST_VOXELS:
        raise InputError(
            f"was masked before, so tightly that nothing is left to judge within it: its envelope "
            f"takes {before.share:.2%} of the box, of which the edge takes {before.edge} px",
            where=path,
            hint=_UNMASKED,
        )
    warning = (
        f"The half-maps were masked before: outside {before.share:.1%} of the box they hold no "
        "noise. The mask's edge is in both, so their FSC is too good, also without a mask. They "
        f"are compared inside of it, within {left:.1%} of the box. For a resolution to rely on, "
        f"{_UNMASKED}."
    )
    mask = replace(halves.mask, volume=narrow, warnings=(*halves.mask.warnings, warning))
    return replace(halves, mask=mask, masked_before=before)


def half_maps_given(options: OfHalfMaps) -> HalfMaps:
    """The half-maps and the mask that a job is given, as :func:`open_half_maps`."""
    return open_half_maps(
        options.half1,
        options.half2,
        mask=options.mask,
        mask_diameter=options.mask_diameter,
        pixel_size=options.pixel_size,
    )
