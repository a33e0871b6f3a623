"""Resolution by direction: conical FSC, the ratio of areas under it, sphericity."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy.spatial import ConvexHull
from torch import Tensor

from vitreous.math.cells import cell_of
from vitreous.math.fourier import frequency_radius, to_fourier
from vitreous.math.rotations import view_direction
from vitreous.math.so3 import healpix_directions
from vitreous.validate.fsc import correlation, crossing

HALF_ANGLE = 20.0
"""Degrees from the axis of a cone to its side, as in 3DFSC."""

ORDER = 2
"""HEALPix order of the cones' axes: 192, 15 degrees apart, of which opposite ones are alike."""

THRESHOLD = 0.143
"""FSC that a direction's resolution is read at."""

_CELL_ORDER = 4
"""HEALPix order of the cells, 3.7 degrees across, that cones are made of."""

_LEAST_COEFFICIENTS = 20
"""That a cone's shell needs: with fewer the whole shell's correlation stands in."""


@dataclass(frozen=True)
class ConicalFsc:
    """FSC within cones.

    Attributes
    ----------
    axes : array (directions, 3)
        Of the cones, unit vectors x, y, z, all over the sphere.
    curves : array (directions, shells)
    box : int
        Pixels.
    pixel_size : float
        Angstrom.
    """

    axes: Float[np.ndarray, "d 3"]
    curves: Float[np.ndarray, "d s"]
    box: int
    pixel_size: float

    @property
    def limits(self) -> Float[np.ndarray, " d"]:
        """Frequency, 1/angstrom, at which each curve first falls below 0.143."""
        return crossing(self.curves, THRESHOLD, first=0) / (self.box * self.pixel_size)

    @property
    def areas(self) -> Float[np.ndarray, " d"]:
        """Area under each curve up to there, 1/angstrom: what lies beyond is noise."""
        width = self.box * self.pixel_size
        shells, ends = np.arange(self.curves.shape[1]), self.limits * width
        fine = np.linspace(0, 1, 4 * len(shells))
        values = [
            np.interp(fine * end, shells, c) for end, c in zip(ends, self.curves, strict=True)
        ]
        area: np.ndarray = np.trapezoid(values, fine, axis=1) * self.limits
        return area

    @property
    def area_ratio(self) -> float:
        """Least over greatest area (cFAR): 1 for a map that is alike in all directions."""
        areas = self.areas
        return float(areas.min() / max(areas.max(), 1e-30))

    @property
    def sphericity(self) -> float:
        """Of the body that reaches out to each direction's limit: 1 for a ball."""
        return sphericity(self.axes, self.limits)


def conical_fsc(
    half1: Float[Tensor, "n n n"],
    half2: Float[Tensor, "n n n"],
    pixel_size: float,
    order: int = ORDER,
    half_angle: float = HALF_ANGLE,
) -> ConicalFsc:
    """FSC of two maps within cones about evenly spread directions.

    Parameters
    ----------
    half1, half2 : tensors (n, n, n)
        Masked.
    pixel_size : float
        Angstrom.
    order : int
        HEALPix order of the directions.
    half_angle : float
        Degrees.

    Notes
    -----
    Tan et al., Nat. Methods 14, 793 (2017).
    """
    table, cells = _sums_by_cell(half1, half2)
    axes = _healpix_axes(order)
    cosine = math.cos(math.radians(half_angle))
    within = ((axes @ cells.T).abs() >= cosine).double()
    sums = (within @ table.flatten(1)).unflatten(1, table.shape[1:])  # directions, shells, 4
    whole = correlation(*table.sum(dim=0)[:, :3].T).expand(len(axes), -1)
    cones = correlation(*sums[..., :3].movedim(-1, 0))
    curves = torch.where(sums[..., 3] >= _LEAST_COEFFICIENTS, cones, whole)
    curves[:, 0] = 1
    return ConicalFsc(axes.numpy(), curves.numpy(), half1.shape[-1], pixel_size)


def _healpix_axes(order: int) -> Float[Tensor, "d 3"]:
    return view_direction(*(torch.from_numpy(angle) for angle in healpix_directions(order)))


def _sums_by_cell(
    half1: Float[Tensor, "n n n"], half2: Float[Tensor, "n n n"]
) -> tuple[Float[Tensor, "c s 4"], Float[Tensor, "c 3"]]:
    """Sums over the coefficients of each HEALPix cell and shell, and the cells' axes.

    Product of the halves, power of either, and number; on the host.
    """
    box, count, device = half1.shape[-1], half1.shape[-1] // 2 + 1, half1.device
    radius = frequency_radius(box, 3, device)
    # Opposite coefficients are conjugate: those after the centre are enough.
    half = torch.arange(box**3, device=device).view(box, box, box) > (box // 2) * (box**2 + box + 1)
    kept = half & (radius < count - 0.5)
    z, y, x = ((index - box // 2).double() for index in kept.nonzero(as_tuple=True))
    rot, tilt = torch.atan2(y, x).rad2deg(), torch.atan2(torch.hypot(x, y), z).rad2deg()
    cell = torch.from_numpy(cell_of(rot.cpu().numpy(), tilt.cpu().numpy(), _CELL_ORDER))
    place = cell.to(device) * count + radius[kept].round().long()
    a, b = (to_fourier(volume, 3)[kept] for volume in (half1, half2))
    values = ((a * b.conj()).real, a.abs() ** 2, b.abs() ** 2, torch.ones_like(a.real))
    cells = _healpix_axes(_CELL_ORDER)
    # Not bincount, whose sums come out differently every time on a GPU.
    empty = torch.zeros(len(cells) * count, dtype=torch.float64, device=device)
    sums = [empty.index_add(0, place, v.double()).cpu() for v in values]
    return torch.stack(sums, dim=1).view(len(cells), count, len(values)), cells


def sphericity(axes: Float[np.ndarray, "d 3"], radii: Float[np.ndarray, " d"]) -> float:
    """Surface of the ball of the same volume over that of a body about the origin.

    Parameters
    ----------
    axes : array (directions, 3)
        Unit vectors all over the sphere.
    radii : array (directions,)
        Distance of the surface along each.

    Notes
    -----
    Wadell, J. Geol. 43, 250 (1935); used for the 3DFSC by Tan et al. (2017).  The surface is made
    of triangles, and the result is over that of a ball made of the same ones.
    """

    def of(corners: Float[np.ndarray, "t 3 3"]) -> float:
        volume = np.abs(np.linalg.det(corners)).sum() / 6
        sides = corners[:, 1:] - corners[:, :1]
        surface = np.linalg.norm(np.cross(sides[:, 0], sides[:, 1]), axis=1).sum() / 2
        return float(np.pi ** (1 / 3) * (6 * volume) ** (2 / 3) / max(surface, 1e-30))

    triangles = ConvexHull(axes).simplices
    return of((axes * radii[:, None])[triangles]) / of(axes[triangles])
