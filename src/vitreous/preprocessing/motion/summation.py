"""Sums of frames whose motion is taken back, plain and weighted by dose, whole and in halves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Complex, Float

from vitreous.math.fourier import from_half_planes
from vitreous.ops.frame_sums import turned_back
from vitreous.ops.warp import add_warped, spline_prefilter
from vitreous.preprocessing.motion.dose_weighting import DoseWeights
from vitreous.preprocessing.motion.field import MotionField
from vitreous.preprocessing.motion.frames import CorrectedFrames
from vitreous.preprocessing.motion.spectra import all_rows
from vitreous.preprocessing.splines import spline_basis

_AS_ONE = 0.05
"""Local displacements in pixels up to which a movie moves as a whole: they take less than 1 % of
the highest frequency."""


@dataclass(frozen=True)
class Wanted:
    """Which sums are made.

    Attributes
    ----------
    plain : bool
        The sum of all frames.
    weights : DoseWeights, optional
        Makes the weighted sum.
    halves : bool
        Sums of every other frame too: weighted if there are weights, else plain.
    """

    plain: bool = True
    weights: DoseWeights | None = None
    halves: bool = False


@dataclass(frozen=True)
class Sums:
    """The sums that were wanted; others are None.

    Attributes
    ----------
    plain, weighted : array (height, width) or None
    odd, even : array (height, width) or None
        Of the first, third and further frames, and of the others.
    """

    plain: Float[np.ndarray, "h w"] | None
    weighted: Float[np.ndarray, "h w"] | None
    odd: Float[np.ndarray, "h w"] | None
    even: Float[np.ndarray, "h w"] | None


def _weighed(
    transform: Complex[np.ndarray, "h w2"], number: int, wanted: Wanted
) -> tuple[list[Complex[np.ndarray, "h w2"]], list[float]]:
    """A frame's transform as each kind of sum takes it, and what its mean is multiplied by."""
    made, factors = ([transform], [1.0]) if wanted.plain else ([], [])
    if wanted.weights is not None:
        weight = wanted.weights.of(number)
        made.append(transform * weight)
        factors.append(float(weight[0, 0]))
    return made, factors


class _WarpedSums:
    """Sums of images whose places are put back one by one."""

    def __init__(self, count: int, shape: tuple[int, int], field: MotionField):
        height, width = self._shape = shape
        rows, columns = field.splines.shape[:2]
        self._bases = (
            spline_basis((np.arange(height) + 0.5) / height, rows).T,
            spline_basis((np.arange(width) + 0.5) / width, columns).T,
        )
        self._curve, self._splines = field.curve - field.curve[0], field.by_frame()
        self._filter = spline_prefilter(height, width)
        self._totals = np.zeros((2, count, height, width), np.float32)

    def add(self, number: int, transforms: list[Complex[np.ndarray, "h w2"]]) -> None:
        """Add a frame to the sums of odd or of even ones."""
        images = np.stack([from_half_planes(t * self._filter, self._shape) for t in transforms])
        total = self._totals[number % 2]
        add_warped(images, self._curve[number], self._splines[number], self._bases, total)

    def images(self) -> Float[np.ndarray, "2 n h w"]:
        """What was added up."""
        return self._totals


class _ShiftedSums:
    """Sums of images that move as wholes: added as transforms, which loses nothing."""

    def __init__(self, count: int, shape: tuple[int, int], field: MotionField):
        height, width = self._shape = shape
        self._curve = field.curve - field.curve[0]
        self._rows = all_rows(shape)
        self._totals = np.zeros((2, count, height, width // 2 + 1), np.complex64)

    def add(self, number: int, transforms: list[Complex[np.ndarray, "h w2"]]) -> None:
        """Add a frame to the sums of odd or of even ones."""
        shift = self._curve[[number]]
        self._totals[number % 2] += turned_back(np.stack(transforms), self._rows, shift)

    def images(self) -> Float[np.ndarray, "2 n h w"]:
        """What was added up."""
        return from_half_planes(self._totals, self._shape)


def sum_frames(frames: CorrectedFrames, field: MotionField, wanted: Wanted) -> Sums:
    """Add the frames up, every place put back by its displacement.

    Parameters
    ----------
    frames : CorrectedFrames
    field : MotionField
        In pixels of the transforms' images.
    wanted : Wanted
    """
    kinds = (["plain"] if wanted.plain else []) + (["weighted"] if wanted.weights else [])
    means = np.zeros((2, len(kinds)))
    maker = _WarpedSums if field.moves_apart() > _AS_ONE else _ShiftedSums
    sums = maker(len(kinds), frames.shape, field)
    for number in range(len(frames)):
        transform, mean = frames.transform(number)
        transforms, factors = _weighed(transform, number, wanted)
        sums.add(number, transforms)
        means[number % 2] += np.array(factors) * mean
    totals = sums.images() + means[..., None, None].astype(np.float32)
    whole = dict(zip(kinds, totals.sum(0), strict=True))
    odd, even = totals[:, -1] if wanted.halves else (None, None)
    return Sums(whole.get("plain"), whole.get("weighted"), odd, even)
