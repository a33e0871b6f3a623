"""Images and slices on rings of the Fourier plane.

On rings an in-plane rotation is a shift along the angle, so one slice for a viewing direction
serves every in-plane angle: its angular Fourier coefficients are multiplied by phases.  The
rings lie at half-integer radii (the midpoint rule): each stands for an annulus one frequency
step wide, and together they tile the disc, its centre included.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float
from torch import Tensor
from torch.nn.functional import pad

_FEWEST = 256
"""Rows from which processors' libraries add up products of matrices in one order."""

_ROOM = 6
"""Angular frequencies beyond the band that a grid of few angles still tells apart: CTF and shifts
carry the images' own a little further."""


@dataclass(frozen=True)
class PolarGrid:
    """Rings of the half-plane, out to a radius.

    Attributes
    ----------
    n_angles : int
        Samples round a whole ring, even; half are stored, at angles in [0, pi).
    bands : tuple of int
        Highest angular frequency used on each ring, at most half of ``n_angles``; ring j has
        radius j + 1/2 in steps of 1 / box.
    """

    n_angles: int
    bands: tuple[int, ...]

    @property
    def rings(self) -> int:
        """Number of rings."""
        return len(self.bands)

    @property
    def bandwidth(self) -> int:
        """Highest angular frequency of any ring."""
        return max(self.bands)

    def inner(self, rings: int) -> PolarGrid:
        """The first ``rings`` rings only, with as few angles as they need."""
        bands = self.bands[:rings]
        return PolarGrid(min(self.n_angles, 2 * (max(bands) + _ROOM) + 2), bands)

    @property
    def half(self) -> int:
        """Stored samples a ring."""
        return self.n_angles // 2

    def radii(self, device: torch.device | None = None) -> Float[Tensor, " rings"]:
        """Ring radii in steps of 1 / box."""
        return torch.arange(self.rings, device=device, dtype=torch.float32) + 0.5

    def points(self, device: torch.device | None = None) -> Float[Tensor, "rings half 2"]:
        """Frequencies (x, y) of the samples, in steps of 1 / box."""
        angle = torch.arange(self.half, device=device) * (2 * math.pi / self.n_angles)
        circle = torch.stack([torch.cos(angle), torch.sin(angle)], dim=-1)
        return self.radii(device)[:, None, None] * circle

    def sample_area(self, device: torch.device | None = None) -> Float[Tensor, " rings"]:
        """Area of the Fourier plane, in pixels, that one sample of each ring stands for."""
        return self.radii(device) * (2 * math.pi / self.n_angles)


def bandwidth_for(radius: float, support: float) -> int:
    """Highest angular frequency of an object of ``support`` (diameter over box) on a ring.

    An object of diameter D seen on a ring of radius k has angular frequencies up to
    pi k D / box; a few more let its soft edge decay.
    """
    return math.ceil(math.pi * radius * min(1.0, support)) + 4


def polar_grid(rings: int, support: float) -> PolarGrid:
    """Rings for objects of ``support`` (diameter over box)."""
    bands = tuple(bandwidth_for(ring + 1, support) for ring in range(rings))
    return PolarGrid(2 * bands[-1] + 2, bands)


def polar_matrix(
    box: int, grid: PolarGrid, steps: float = 1.0, device: torch.device | None = None
) -> Float[Tensor, "q p"]:
    """Matrix from pixels of centred images to (real, imaginary) ring samples, unitary scale.

    The rings of ``grid`` count in ``steps`` frequency steps of the images' own box.
    """
    points = grid.points(device).reshape(-1, 2) * steps
    axis = torch.arange(box, device=device, dtype=torch.float32) - box // 2
    along_x, along_y = (axis[:, None] * part * (2 * math.pi / box) for part in points.T)
    phase = (along_y[:, None] + along_x).flatten(0, 1)
    matrix = phase.new_empty(box * box, 2 * len(points))  # filled in place: it may take a gigabyte
    torch.cos(phase, out=matrix[:, : len(points)])
    torch.sin(phase.neg_(), out=matrix[:, len(points) :])
    return matrix.div_(box)


def to_polar(
    images: Float[Tensor, "n b b"], grid: PolarGrid, matrix: Float[Tensor, "q p"]
) -> Complex[Tensor, "n rings half"]:
    """Exact transforms of images at the samples of a grid, by the matrix made for it.

    Those of an image are the same bits, whichever images it comes with.
    """
    more = max(0, _FEWEST - len(images))
    flat = (pad(images.reshape(len(images), -1), [0, 0, 0, more]) @ matrix)[: len(images)]
    real, imaginary = flat.view(len(images), 2, grid.rings, grid.half).unbind(1)
    return torch.complex(real, imaginary)


def from_polar(
    samples: Complex[Tensor, "n rings half"], grid: PolarGrid, matrix: Float[Tensor, "q p"]
) -> Float[Tensor, "n b b"]:
    """Images whose transforms have these samples: the adjoint, each sample by its area.

    Nearly the inverse of :func:`to_polar` for images that hold no detail beyond the rings and no
    density outside the support that the grid was made for; where rings are far apart, beside how
    the transform changes, it misses some per cent.
    """
    area = 2 * grid.sample_area(samples.device)[None, :, None]  # a sample stands for its mate too
    flat = torch.view_as_real(samples * area).flatten(1, 2)
    box = round(math.sqrt(len(matrix)))
    return (flat.transpose(1, 2).flatten(1) @ matrix.T).view(len(samples), box, box)
