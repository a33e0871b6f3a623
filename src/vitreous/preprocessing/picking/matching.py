"""Correlation of a micrograph with references at every place, under local normalisation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy import fft

from vitreous.preprocessing.picking.prepared import robust_spread

_TOGETHER = 16
"""References transformed at a time."""

_LEAST = 0.05
"""Local variance over the micrograph's below which nothing is a particle."""


@dataclass(frozen=True)
class Matches:
    """The best reference at every place.

    Attributes
    ----------
    score : array (y, x)
        A correlation coefficient, or what blobs have in its place.
    reference : int array (y, x)
        Index of the best one.
    """

    score: Float[np.ndarray, "h w"]
    reference: Int[np.ndarray, "h w"]


def strongest(answers: Iterable[Float[np.ndarray, "h w"]]) -> Matches:
    """The best of several filters' answers at every place, in robust standard deviations of each.

    Parameters
    ----------
    answers : iterable of arrays (y, x)
        At least one.
    """
    score, best = None, np.zeros(0, dtype=np.int64)
    for number, answer in enumerate(answers):
        found = answer / max(robust_spread(answer), 1e-30)
        if score is None:
            score, best = found, np.zeros(found.shape, dtype=np.int64)
        better = found > score
        score, best = np.where(better, found, score), np.where(better, number, best)
    assert score is not None
    return Matches(score, best)


def mirrored(
    image: Float[np.ndarray, "h w"], margin: int
) -> tuple[Float[np.ndarray, "h2 w2"], tuple[slice, slice]]:
    """The image with so many pixels more on each side, as filters see it, and where it lies."""
    return np.pad(image, margin, mode="symmetric"), (slice(margin, -margin),) * 2


def spread(
    references: Float[np.ndarray, "k b b"], shape: tuple[int, int]
) -> Float[np.ndarray, "k h w"]:
    """References in an empty field, their centres on its first pixel."""
    box = references.shape[-1]
    field = np.zeros((len(references), *shape), dtype=np.float32)
    field[:, :box, :box] = references
    return np.roll(field, (-(box // 2), -(box // 2)), axis=(1, 2))


def _batches(count: int) -> Iterator[slice]:
    yield from (slice(first, first + _TOGETHER) for first in range(0, count, _TOGETHER))


def match(
    image: Float[np.ndarray, "h w"],
    references: Float[np.ndarray, "k b b"],
    mask: Float[np.ndarray, "b b"],
) -> Matches:
    """Correlate every place with every reference, mean and variance taken within the mask.

    Roseman, Ultramicroscopy 94, 225 (2003): numerator and local statistics are correlations, each
    by one transform.

    Parameters
    ----------
    image : array (y, x)
    references : array (references, box, box)
    mask : array (box, box)
        0 or 1.
    """
    seen, within = mirrored(image, mask.shape[-1])
    shape, inside = seen.shape, mask > 0
    count = float(inside.sum())
    transform, square = fft.rfft2(seen), fft.rfft2(seen**2)
    window = np.conj(fft.rfft2(spread(mask[None], shape)[0]))
    mean, power = (fft.irfft2(s * window, s=shape)[within] / count for s in (transform, square))
    variance = power - mean**2
    deviation = np.sqrt(np.maximum(variance, _LEAST * float(image.var())))
    score = np.full(image.shape, -np.inf, dtype=np.float32)
    best = np.zeros(image.shape, dtype=np.int64)
    for some in _batches(len(references)):
        part = references[some] - references[some][:, inside].mean(axis=1)[:, None, None]
        part = part * mask
        part = part / np.sqrt((part**2).sum(axis=(1, 2), keepdims=True))
        spectra = np.conj(fft.rfft2(spread(part, shape)))
        found = fft.irfft2(transform * spectra, s=shape)[:, *within]
        which = found.argmax(axis=0)
        top = np.take_along_axis(found, which[None], axis=0)[0]
        better = top > score
        score[better], best[better] = top[better], which[better] + some.start
    return Matches(score / (deviation * np.sqrt(count)), best)
