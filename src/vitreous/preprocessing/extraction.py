"""Particle images cut out of a micrograph, as RELION's Extract cuts them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from vitreous.imaging.ctf import Defocus, Optics, contrast_transfer

Images = Float[np.ndarray, "n y x"]

_PIXELS = 1 << 22
"""Pixels of the boxes that are worked on at a time."""


@dataclass(frozen=True)
class Transfer:
    """What the micrograph's contrast transfer function is, and what to do with it.

    Attributes
    ----------
    action : {"multiply", "flip"}
        Multiply the images by it, or by its sign.
    defocus : Defocus
        One value for each particle.
    optics : Optics
    pixel_size : float
        Of the micrograph, angstrom.
    box : int
        Box in pixels that the product is formed in, before the image is cut to its own: a larger
        one keeps what the CTF carries from outside.
    """

    action: Literal["multiply", "flip"]
    defocus: Defocus
    optics: Optics
    pixel_size: float
    box: int


@dataclass(frozen=True)
class Background:
    """How the surroundings of a particle become noise of mean 0 and variance 1.

    Attributes
    ----------
    radius : float
        Pixels further than this from the centre are background, in pixels of the final image.
    ramp : bool
        Subtract a plane fitted to it, else its mean.
    white_dust, black_dust : float, optional
        Pixels so many standard deviations above or below its mean are replaced by noise.
    """

    radius: float
    ramp: bool = True
    white_dust: float | None = None
    black_dust: float | None = None


@dataclass(frozen=True)
class Extraction:
    """How particles are cut.

    Attributes
    ----------
    box : int
        Pixels of the micrograph.
    final_box : int
        Pixels of the images: others than ``box`` rescale them.
    background : Background, optional
        Without it images keep the micrograph's grey levels.
    invert : bool
        Change the sign: particles that are dark on the micrograph become white.
    """

    box: int
    final_box: int
    background: Background | None
    invert: bool = True


def whole_pixels(xy: Float[np.ndarray, "n 2"]) -> Int[np.ndarray, "n 2"]:
    """Pixels that coordinates lie in: fractions are dropped towards zero, as RELION does."""
    return np.trunc(xy).astype(np.int64)


def outside(
    xy: Float[np.ndarray, "n 2"], box: int, shape: tuple[int, int]
) -> Bool[np.ndarray, " n"]:
    """Whether a box round each place (x, y) lies wholly beyond a micrograph of shape (y, x)."""
    low = whole_pixels(xy) - box // 2
    return np.any((low + box <= 0) | (low >= np.array(shape[::-1])), axis=1)


def _lines(
    xy: Float[np.ndarray, "n 2"], box: int, shape: tuple[int, ...]
) -> tuple[Int[np.ndarray, "n b"], Int[np.ndarray, "n b"]]:
    """Rows and columns of the micrograph that boxes span, some of them beyond its border."""
    span = np.arange(box) - box // 2
    x, y = whole_pixels(xy).T
    return y[:, None] + span, x[:, None] + span


def windows(micrograph: Float[np.ndarray, "h w"], xy: Float[np.ndarray, "n 2"], box: int) -> Images:
    """Boxes round places (x, y), in float64; beyond the border the nearest pixel goes on."""
    rows, columns = (
        np.clip(line, 0, side - 1)
        for line, side in zip(_lines(xy, box, micrograph.shape), micrograph.shape, strict=True)
    )
    return micrograph[rows[:, :, None], columns[:, None, :]].astype(np.float64)


def transferred_windows(
    micrograph: Float[np.ndarray, "h w"], xy: Float[np.ndarray, "n 2"], box: int, transfer: Transfer
) -> Images:
    """The same with images multiplied by their CTFs, or by the signs of these.

    Beyond the border lies the micrograph's mean when they are multiplied, and the nearest pixel of
    the product after that, as in RELION.
    """
    wide = windows(micrograph, xy, transfer.box)
    inside = [
        (line >= 0) & (line < side)
        for line, side in zip(
            _lines(xy, transfer.box, micrograph.shape), micrograph.shape, strict=True
        )
    ]
    wide = np.where(inside[0][:, :, None] & inside[1][:, None, :], wide, micrograph.mean())
    product = cropped(with_transfer(wide, transfer), box)
    rows, columns = (
        np.clip(line, 0, side - 1) - line[:, :1]
        for line, side in zip(_lines(xy, box, micrograph.shape), micrograph.shape, strict=True)
    )
    return product[np.arange(len(xy))[:, None, None], rows[:, :, None], columns[:, None, :]]


def with_transfer(images: Images, transfer: Transfer) -> Images:
    """Images multiplied by their CTFs, or by the signs of these."""
    box = images.shape[-1]
    x = np.fft.rfftfreq(box, transfer.pixel_size)
    y = np.r_[x, -x[-2:0:-1]]  # the row of the Nyquist frequency is the positive one, as RELION's
    points = torch.from_numpy(np.stack(np.broadcast_arrays(x, y[:, None]), axis=-1))
    ctf = contrast_transfer(points, transfer.defocus, transfer.optics).numpy()
    factor = ctf if transfer.action == "multiply" else np.where(ctf < 0, -1.0, 1.0)
    return np.fft.irfft2(np.fft.rfft2(images) * factor, s=(box, box))


def cropped(images: Images, box: int) -> Float[np.ndarray, "n b b"]:
    """The middle of images."""
    low = images.shape[-1] // 2 - box // 2
    return images[:, low : low + box, low : low + box]


def rescaled(images: Images, box: int) -> Float[np.ndarray, "n b b"]:
    """Images of another even box over the same field of view, their values kept.

    The half transform is cropped with its row of the new Nyquist frequency kept on the positive
    side alone, or padded without what lies beyond the old one's radius: RELION's way.
    """
    old = images.shape[-1]
    if box == old:
        return images
    spectrum = np.fft.rfft2(images)
    highest = min(box, old) // 2
    rows = np.r_[0 : highest + 1, 1 - highest : 0]
    part = spectrum[:, rows, : highest + 1]
    if box > old:
        part = np.where(np.hypot(rows[:, None], np.arange(highest + 1)) <= highest, part, 0)
    kept = np.zeros((len(images), box, box // 2 + 1), dtype=spectrum.dtype)
    kept[:, rows, : highest + 1] = part
    return np.fft.irfft2(kept, s=(box, box)) * (box / old) ** 2


def background_of(box: int, radius: float) -> Bool[np.ndarray, "y x"]:
    """Pixels further than ``radius`` from the centre."""
    axis = np.arange(box) - box // 2
    return np.hypot(axis[:, None], axis) > radius


def without_ramp(images: Images, where: Bool[np.ndarray, "y x"]) -> Images:
    """Images less the plane that fits their background best."""
    axis = np.arange(images.shape[-1]) - images.shape[-1] // 2
    y, x = np.meshgrid(axis, axis, indexing="ij")
    plane = np.stack([x, y, np.ones_like(x)], axis=-1).astype(np.float64)
    fit = images[:, where] @ np.linalg.pinv(plane[where]).T
    return images - np.einsum("yxc,nc->nyx", plane, fit)


def _statistics(
    images: Images, where: Bool[np.ndarray, "y x"]
) -> tuple[Float[np.ndarray, "n 1 1"], Float[np.ndarray, "n 1 1"]]:
    """Mean and standard deviation of each image's background."""
    values = images[:, where]
    return values.mean(axis=1)[:, None, None], values.std(axis=1)[:, None, None]


def without_dust(
    images: Images, where: Bool[np.ndarray, "y x"], background: Background, seed: int
) -> Images:
    """Images whose extreme pixels are drawn anew from the background's distribution."""
    mean, deviation = _statistics(images, where)
    score = (images - mean) / np.where(deviation > 0, deviation, 1)
    white, black = (
        math.inf if limit is None else limit
        for limit in (background.white_dust, background.black_dust)
    )
    noise = np.random.default_rng(seed).standard_normal(images.shape)
    return np.where((score > white) | (score < -black), mean + deviation * noise, images)


def normalised(images: Images, background: Background, seed: int = 0) -> Images:
    """Images whose background has mean 0 and variance 1; what has no variance becomes 0."""
    where = background_of(images.shape[-1], background.radius)
    if background.ramp:
        images = without_ramp(images, where)
    if background.white_dust is not None or background.black_dust is not None:
        images = without_dust(images, where, background, seed)
    mean, deviation = _statistics(images, where)
    return (images - mean) / np.where(deviation > 0, deviation, np.inf)


def cut(
    micrograph: Float[np.ndarray, "h w"],
    xy: Float[np.ndarray, "n 2"],
    extraction: Extraction,
    transfer: Transfer | None = None,
    seed: int = 0,
) -> Iterator[Float[np.ndarray, "m y x"]]:
    """Images of particles at (x, y), some at a time, float32.

    Boxes are cut at whole pixels, rescaled, freed of the ramp, normalised and inverted in this
    order: ``relion_preprocess --extract``, which this agrees with to rounding.

    Parameters
    ----------
    micrograph : array (y, x)
    xy : array (particles, 2)
        Pixels of the micrograph.
    extraction : Extraction
    transfer : Transfer, optional
        Of the particles, in their order; without it the CTF stays as it is.
    seed : int
        Of the noise that takes the place of dust.
    """
    box = extraction.box if transfer is None else transfer.box
    step = max(1, _PIXELS // box**2)
    for start in range(0, len(xy), step):
        rows = slice(start, start + step)
        if transfer is None:
            images = windows(micrograph, xy[rows], extraction.box)
        else:
            own = replace(transfer, defocus=transfer.defocus.take(rows))
            images = transferred_windows(micrograph, xy[rows], extraction.box, own)
        images = rescaled(images, extraction.final_box)
        if extraction.background is not None:
            images = normalised(images, extraction.background, seed + start)
        yield (-images if extraction.invert else images).astype(np.float32)
