"""Sums of frames whose motion is taken back, plain and weighted by dose, whole and in halves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from vitreous.math.fourier import from_half_planes
from vitreous.ops.warp import add_warped, spline_prefilter
from vitreous.preprocessing.motion.dose_weighting import DoseWeights
from vitreous.preprocessing.motion.field import MotionField
from vitreous.preprocessing.motion.frames import CorrectedFrames
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


def sum_frames(frames: CorrectedFrames, field: MotionField, wanted: Wanted) -> Sums:
    """Add the frames up, every place put back by its displacement.

    Parameters
    ----------
    frames : CorrectedFrames
    field : MotionField
        In pixels of the transforms' images.
    wanted : Wanted
    """
    height, width = frames.shape
    kinds = (["plain"] if wanted.plain else []) + (["weighted"] if wanted.weights else [])
    totals = np.zeros((2, len(kinds), height, width), np.float32)  # odd and even frames
    means = np.zeros((2, len(kinds)))
    filtered = spline_prefilter(height, width)
    rows, columns = field.splines.shape[:2]
    bases = (
        spline_basis((np.arange(height) + 0.5) / height, rows).T,
        spline_basis((np.arange(width) + 0.5) / width, columns).T,
    )
    curve, splines = field.curve - field.curve[0], field.by_frame()
    for number in range(len(frames)):
        transform, mean = frames.transform(number)
        transform *= filtered
        images, factors = [], []
        for kind in kinds:
            weight = wanted.weights.of(number) if kind == "weighted" and wanted.weights else None
            weighed = transform if weight is None else transform * weight
            images.append(from_half_planes(weighed, frames.shape))
            factors.append(1.0 if weight is None else float(weight[0, 0]))
        part = totals[number % 2]
        add_warped(np.stack(images), curve[number], splines[number], bases, part)
        means[number % 2] += np.array(factors) * mean
    totals += means[..., None, None].astype(np.float32)
    whole = dict(zip(kinds, totals.sum(0), strict=True))
    odd, even = totals[:, -1] if wanted.halves else (None, None)
    return Sums(whole.get("plain"), whole.get("weighted"), odd, even)
