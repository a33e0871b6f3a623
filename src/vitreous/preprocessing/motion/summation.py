"""Sums of frames whose motion is taken back, plain and weighted by dose, whole and in halves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Complex, Float

from vitreous.math.fourier import from_half_planes
from vitreous.ops.frame_sums import FrequencyRows, turned_back
from vitreous.ops.warp import add_warped, spline_prefilter
from vitreous.preprocessing.motion.dose_weighting import DoseWeights
from vitreous.preprocessing.motion.field import MotionField
from vitreous.preprocessing.motion.frames import CorrectedFrames
from vitreous.preprocessing.motion.spectra import all_rows
from vitreous.preprocessing.splines import spline_basis


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


class _Warp:
    """Puts the places of images back, one by one."""

    def __init__(self, shape: tuple[int, int], splines: tuple[int, int]):
        (height, width), (rows, columns) = shape, splines
        self._shape = shape
        self._bases = (
            spline_basis((np.arange(height) + 0.5) / height, rows).T,
            spline_basis((np.arange(width) + 0.5) / width, columns).T,
        )
        self._filter = spline_prefilter(height, width)

    def add(
        self,
        transforms: Complex[np.ndarray, "n h w2"],
        local: Float[np.ndarray, "rows columns 2"],
        totals: Float[np.ndarray, "n h w"],
    ) -> None:
        """Add images, given as half transforms, whose places are displaced by splines."""
        if not local.any():
            totals += from_half_planes(transforms, self._shape)
            return
        # One at a time: in large movies, memory for all at once would be cleared anew each time.
        images = np.stack([from_half_planes(t * self._filter, self._shape) for t in transforms])
        add_warped(images, np.zeros(2), local, self._bases, totals)


class _Run:
    """Spectra of the wanted sums over some frames, turned back by the motion of the whole."""

    def __init__(self, count: int, rows: FrequencyRows):
        self._rows = rows
        self.spectra = np.zeros((count, len(rows.y), len(rows.x)), np.complex64)
        self.means = np.zeros(count)

    def add(self, frames: CorrectedFrames, number: int, moved: np.ndarray, wanted: Wanted) -> None:
        """Add a frame as each kind of sum takes it."""
        transform, mean = frames.transform(number)
        turned = turned_back(transform, self._rows, moved)
        if wanted.plain:
            self.spectra[0] += turned
            self.means[0] += mean
        if wanted.weights is not None:
            weight = wanted.weights.of(number)
            self.spectra[-1] += turned * weight
            self.means[-1] += mean * float(weight[0, 0])


def sum_frames(frames: CorrectedFrames, field: MotionField, wanted: Wanted) -> Sums:
    """Add the frames up, every place put back by its displacement.

    The motion of the whole is taken back in Fourier space, which loses nothing; local motion from
    the sums of runs of frames that it moves as one.

    Parameters
    ----------
    frames : CorrectedFrames
    field : MotionField
        In pixels of the transforms' images.
    wanted : Wanted
    """
    kinds = (["plain"] if wanted.plain else []) + (["weighted"] if wanted.weights else [])
    parts = 2 if wanted.halves else 1
    curve, local, rows = field.curve - field.curve[0], field.by_frame(), all_rows(frames.shape)
    warp = _Warp(frames.shape, field.splines.shape[:2])
    totals = np.zeros((parts, len(kinds), *frames.shape), np.float32)
    means = np.zeros((parts, len(kinds)))
    for run in field.runs_as_one():
        displaced = local[run.start : run.stop].mean(0)
        for part, total in enumerate(totals):
            numbers = [number for number in run if number % parts == part]
            if not numbers:
                continue
            some = _Run(len(kinds), rows)
            for number in numbers:
                some.add(frames, number, curve[number], wanted)
            warp.add(some.spectra, displaced, total)
            means[part] += some.means
    totals += means[..., None, None].astype(np.float32)
    whole = dict(zip(kinds, totals.sum(0), strict=True))
    odd, even = totals[:, -1] if wanted.halves else (None, None)
    return Sums(whole.get("plain"), whole.get("weighted"), odd, even)
