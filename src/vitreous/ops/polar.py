"""Images to rings of the Fourier plane, by the fastest way that the processor has.

Compiled, it is a non-uniform Fourier transform: the image, divided by the transform of a
Kaiser-Bessel window, is taken to a grid twice as fine as its own frequencies, and each sample is a
sum over the grid points that the window reaches (Jackson et al. 1991, IEEE Trans. Med. Imaging 10,
473; the window's parameter: Beatty et al. 2005, ibid. 24, 799, equation 5).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Complex, Float, Int
from scipy.special import i0
from torch import Tensor

from vitreous.imaging.polar import PolarGrid, polar_matrix, to_polar
from vitreous.math.fourier import plane_frequencies
from vitreous.ops.compiler import COMPILED
from vitreous.ops.threads import in_parts

if COMPILED:
    from vitreous.ops.gridding import gather

ToRings = Callable[[Float[Tensor, "n b b"]], Complex[Tensor, "n rings half"]]

_FINER = 2.0
"""Grid points a frequency step."""

_WIDTH = 6
"""Grid points that the window reaches along each axis: errors of 5e-6."""

_PARAMETER = math.pi * math.sqrt((_WIDTH / _FINER) ** 2 * (_FINER - 0.5) ** 2 - 0.8)

_AT_ONCE = 64
"""Images whose grids are made at once: they stay in the processor's caches."""


def ring_transform(box: int, grid: PolarGrid, steps: float = 1.0) -> ToRings:
    """How images of a box on the host come to the samples of a grid, unitary scale.

    The rings of ``grid`` count in ``steps`` frequency steps of the images' own box.  Samples of an
    image are the same bits, whichever images it comes with.
    """
    if not COMPILED:
        return partial(to_polar, grid=grid, matrix=polar_matrix(box, grid, steps))
    return _Gridding.of(box, grid, steps)


@dataclass(frozen=True)
class _Gridding:
    """A non-uniform transform to the samples of rings.

    Attributes
    ----------
    rings : int
    side : int
        Points along y of the fine grid.
    divisor : tensor (b, b)
        What pixels are multiplied by beforehand: one over the window's transform.
    first : int32 array (2, samples)
        Column and row of the first grid point of each sample.
    weights : tuple of two float32 arrays (samples, width)
        Of the columns and rows.
    sign : float32 array (samples,)
        -1 where a sample is the conjugate of its mate's at positive x.
    """

    rings: int
    side: int
    divisor: Float[Tensor, "b b"]
    first: Int[np.ndarray, "2 m"]
    weights: tuple[Float[np.ndarray, "m w"], Float[np.ndarray, "m w"]]
    sign: Float[np.ndarray, " m"]

    @classmethod
    def of(cls, box: int, grid: PolarGrid, steps: float) -> _Gridding:
        """The transform for images of a box."""
        points = grid.points().double().reshape(-1, 2).numpy().T * (steps * _FINER)
        sign = np.where(points[0] < 0, -1.0, 1.0)
        points = points * sign
        first = np.ceil(points - _WIDTH / 2)
        x, y = _window((points - first)[:, :, None] - np.arange(_WIDTH)).astype(np.float32)
        reach = math.ceil(np.abs(points).max()) + _WIDTH // 2
        first[1] += reach
        along = 1 / _window_transform((np.arange(box) - box // 2) / (_FINER * box))
        return cls(
            grid.rings,
            2 * reach + 1,
            torch.from_numpy(np.outer(along, along)).float(),
            first.astype(np.int32),
            (x, y),
            sign.astype(np.float32),
        )

    def __call__(self, images: Float[Tensor, "n b b"]) -> Complex[Tensor, "n rings half"]:
        """Samples of images."""
        found = torch.cat([self._gathered(some) for some in images.split(_AT_ONCE)])
        return torch.view_as_complex(found).view(len(images), self.rings, -1)

    def _gathered(self, images: Float[Tensor, "n b b"]) -> Float[Tensor, "n m 2"]:
        grids = plane_frequencies(images * self.divisor, self.side, 1 / _FINER)
        found = torch.empty(len(images), len(self.sign), 2)
        planes, values = torch.view_as_real(grids).numpy(), found.numpy()

        def work(own: slice) -> None:
            gather(planes[own], self.first, *self.weights, self.sign, values[own])

        in_parts(work, len(planes))
        return found


def _window(distance: Float[np.ndarray, "2 m w"]) -> Float[np.ndarray, "2 m w"]:
    """Kaiser-Bessel window at distances in grid points."""
    inside = 1 - (2 * distance / _WIDTH) ** 2
    return np.where(inside < 0, 0.0, i0(_PARAMETER * np.sqrt(np.maximum(inside, 0.0))))


def _window_transform(position: Float[np.ndarray, " b"]) -> Float[np.ndarray, " b"]:
    """Its Fourier transform, at pixels over the period of the fine grid."""
    root = np.emath.sqrt(_PARAMETER**2 - (math.pi * _WIDTH * position) ** 2)
    return _WIDTH * np.real(np.sinh(root) / root)
