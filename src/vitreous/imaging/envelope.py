"""Masks that follow the molecule: given a threshold, or found from one map or two half-maps."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy import ndimage
from torch import Tensor

from vitreous.imaging.filters import low_pass
from vitreous.imaging.masks import cosine_edge
from vitreous.math.fourier import frequency_radius

_LOW_PASSES = (15.0, 20.0, 30.0, 40.0)
"""Angstrom; the first at which the threshold stands clear of the noise is taken."""

_CLEAR = 4.0
"""Standard deviations of the low-passed noise that the threshold must exceed."""

_SPECK = 0.01
"""Volume over the largest part's below which a separate part is left out."""

_OF_NORMAL = 1.4826
"""Standard deviation of a normal distribution over its median distance from the median."""

_BINS = 512
"""Bins of the histogram that the threshold is found on."""

_EXTEND, _EDGE = (3.0, 6.0), (6.0, 10.0)
"""Pixels and angstrom, whichever is wider, that an automatic mask is grown and its edge takes."""


@dataclass(frozen=True)
class Envelope:
    """An automatic mask and what it was made with.

    Attributes
    ----------
    mask : tensor (n, n, n)
        From 0 to 1.
    low_pass : float
        Resolution of the map it was made from, angstrom.
    threshold : float
        Of that map's density.
    extend, edge : float
        Growth and width of the soft edge, pixels.
    """

    mask: Float[Tensor, "n n n"]
    low_pass: float
    threshold: float
    extend: float
    edge: float


def _distance(inside: Bool[np.ndarray, "z y x"]) -> Float[np.ndarray, "z y x"]:
    """Distance of every voxel to the nearest one inside, in pixels."""
    distance: np.ndarray = ndimage.distance_transform_edt(~inside)
    return distance


def grown(inside: Bool[np.ndarray, "n n n"], extend: float, edge: float) -> Float[Tensor, "n n n"]:
    """Mask of the voxels within ``extend`` pixels of those inside, and a raised-cosine edge."""
    mask = torch.zeros(inside.shape)
    found = ndimage.find_objects(inside.astype(np.uint8))
    if not found:
        return mask
    # Distances are only wanted near the molecule, which fills a tenth of its box or less.
    reach = math.ceil(extend + edge) + 1
    near = tuple(slice(max(s.start - reach, 0), s.stop + reach) for s in found[0])
    core = inside[near] | (_distance(inside[near]) < extend)
    mask[near] = cosine_edge(torch.from_numpy(_distance(core)), 0.0, edge).float()
    return mask


def mask_above(
    volume: Float[Tensor, "n n n"], threshold: float, extend: float, edge: float
) -> Float[Tensor, "n n n"]:
    """Mask of the density of at least ``threshold``, grown and softened; lengths in pixels."""
    return grown((volume >= threshold).cpu().numpy(), extend, edge)


def between_classes(values: Float[np.ndarray, " n"]) -> float:
    """Threshold that best divides values into two classes.

    Notes
    -----
    Otsu, IEEE Trans. Syst. Man Cybern. 9, 62 (1979).
    """
    counts, edges = np.histogram(values, _BINS)
    middles = (edges[1:] + edges[:-1]) / 2
    below, total = np.cumsum(counts)[:-1], counts.sum()
    moment = np.cumsum(counts * middles)
    between = (moment[-1] * below / total - moment[:-1]) ** 2
    separation = between / np.maximum(below * (total - below), 1)  # 0 where one class is empty
    return float(middles[int(separation.argmax())])


def _without_specks(inside: Bool[np.ndarray, "n n n"]) -> Bool[np.ndarray, "n n n"]:
    labels, _ = ndimage.label(inside)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0  # the solvent
    kept: np.ndarray = (sizes >= _SPECK * sizes.max())[labels] & inside
    return kept


def usual_widths(pixel_size: float) -> tuple[float, float]:
    """Growth and width of the soft edge of an automatic mask, pixels, at a pixel in angstrom."""
    extend, edge = (max(pixels, width / pixel_size) for pixels, width in (_EXTEND, _EDGE))
    return extend, edge


def _envelope(
    volume: Float[Tensor, "n n n"],
    pixel_size: float,
    noise: Callable[[Float[Tensor, " p"], float], float],
    extend: float,
    edge: float,
) -> Envelope | None:
    """Mask at the first low-pass at which Otsu's threshold stands clear of the noise.

    ``noise`` tells its standard deviation from the low-passed values in the ball and the
    resolution.
    """
    ball = frequency_radius(volume.shape[-1], 3, volume.device) < volume.shape[-1] / 2
    for resolution in _LOW_PASSES:
        filtered = low_pass(volume, pixel_size, resolution)
        # Histograms, connected parts and distances are the host's.
        inside_ball = filtered[ball].cpu()
        threshold = between_classes(inside_ball.numpy())
        clear = threshold - float(np.median(inside_ball.numpy()))
        if clear > _CLEAR * noise(inside_ball, resolution):
            inside = _without_specks(((filtered >= threshold) & ball).cpu().numpy())
            mask = grown(inside, extend, edge).to(volume.device)
            return Envelope(mask, resolution, threshold, extend, edge)
    return None


def automatic_mask(
    half1: Float[Tensor, "n n n"], half2: Float[Tensor, "n n n"], pixel_size: float
) -> Envelope | None:
    """Soft mask round the density that two half-maps share, or None if none stands out.

    Their mean is low-passed and divided from the solvent by Otsu's threshold over the ball that
    fits the box; half their difference tells the noise that the threshold must exceed.

    Parameters
    ----------
    half1, half2 : tensors (n, n, n)
    pixel_size : float
        Angstrom.
    """
    ball = frequency_radius(half1.shape[-1], 3, half1.device) < half1.shape[-1] / 2

    def of_difference(_: Float[Tensor, " p"], resolution: float) -> float:
        return float(low_pass((half1 - half2) / 2, pixel_size, resolution)[ball].std())

    return _envelope((half1 + half2) / 2, pixel_size, of_difference, *usual_widths(pixel_size))


def mask_of_one(
    volume: Float[Tensor, "n n n"], pixel_size: float, extend: float, edge: float
) -> Envelope | None:
    """As :func:`automatic_mask`, from one map alone: its solvent tells the noise.

    The noise is 1.48 times the median distance from the median, which is that of the solvent as
    long as it fills more than half of the ball that fits the box.

    Parameters
    ----------
    volume : tensor (n, n, n)
    pixel_size : float
        Angstrom.
    extend, edge : float
        Growth and width of the soft edge, pixels; see :func:`usual_widths`.
    """

    def of_solvent(values: Float[Tensor, " p"], _: float) -> float:
        from_median = np.abs(values.numpy() - np.median(values.numpy()))
        return _OF_NORMAL * float(np.median(from_median))

    return _envelope(volume, pixel_size, of_solvent, extend, edge)
