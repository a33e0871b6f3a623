"""Motion correction of a movie: motion of the whole, then local motion, then the sums.

All frames, and all patches of them, are aligned at once by maximum likelihood: see
:mod:`vitreous.preprocessing.motion.alignment` and :mod:`vitreous.preprocessing.motion.local`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.fft
from jaxtyping import Complex, Float, Int, Real

from vitreous.math.fourier import from_half_planes
from vitreous.ops.frame_sums import turned_back
from vitreous.preprocessing.motion.alignment import align_frames, coarse_shifts
from vitreous.preprocessing.motion.dose_weighting import DoseWeights
from vitreous.preprocessing.motion.field import MotionField, frame_groups, frame_times
from vitreous.preprocessing.motion.frames import CorrectedFrames, Detector, crop_half, even_size
from vitreous.preprocessing.motion.local import cut_patches, local_splines
from vitreous.preprocessing.motion.smoothness import smoothed
from vitreous.preprocessing.motion.spectra import all_rows, low_part, low_rows
from vitreous.preprocessing.motion.summation import Sums, Wanted, sum_frames

_WHOLE_RESOLUTION, _LOCAL_RESOLUTION = 8.0, 6.0
"""Finest detail, angstrom, that motion of the whole and local motion are found from."""

_COARSE = 0.5
"""Share of the frequencies that the first displacements are found from."""

_FINER = 1.1
"""Nyquist of the images that motion is found on, over the highest frequency used."""

_HIGHEST = 0.45
"""Highest frequency used, cycles a pixel, where the movie's pixels are coarse."""

_PATCH = 300.0
"""Distance between patches, angstrom, and how many there are at least and at most on a side."""
_FEWEST, _MOST = 4, 8


_BYTES_A_PIXEL, _BYTES_A_SAMPLE = 60.0, 32.0
"""Memory for a pixel of one frame, and for a pixel in every frame of the images that motion is
found on; measured on 40 frames of 1024 x 1024."""


@dataclass(frozen=True)
class Exposure:
    """Dose of a movie.

    Attributes
    ----------
    doses : array (frames,)
        Of each frame, e/A^2.
    before : float
        e/A^2 before the first.
    voltage : float
        kV.
    """

    doses: Float[np.ndarray, " frames"]
    before: float
    voltage: float


@dataclass(frozen=True)
class MotionSettings:
    """How motion is corrected.

    Attributes
    ----------
    pixel_size : float
        Of the movie, angstrom.
    binning : float
        Pixels of the sums over those of the movie.
    local : bool
        Find and take back local motion.
    plain, halves : bool
        Sums wanted beside the weighted one: plain, and of every other frame.
    exposure : Exposure, optional
        Weighs the frames by their dose.
    seed : int
    """

    pixel_size: float
    binning: float = 1.0
    local: bool = True
    plain: bool = True
    halves: bool = False
    exposure: Exposure | None = None
    seed: int = 0


@dataclass(frozen=True)
class CorrectedMovie:
    """What was made of a movie.

    Attributes
    ----------
    field : MotionField
        In the movie's pixels.
    sums : Sums
    shape : tuple of int
        Rows and columns of the sums.
    defects : array (n, 2)
        Rows and columns of the pixels that were filled.
    amplitude : float
        Of the local motion that the movie suggests, angstrom; 0 if none was looked for.
    """

    field: MotionField
    sums: Sums
    shape: tuple[int, int]
    defects: Int[np.ndarray, "n 2"]
    amplitude: float


def _working_images(frames: CorrectedFrames, pixel_size: float) -> tuple[np.ndarray, float]:
    """Half transforms of all frames with the detail that motion is found from; their height
    and width as sampled, and pixel size."""
    factor = max(1.0, _LOCAL_RESOLUTION / (2 * _FINER) / pixel_size)
    height, width = (
        min(side, even_size(scipy.fft.next_fast_len(even_size(side, factor), real=True), 1.0))
        for side in frames.shape
    )
    made = np.stack(
        [crop_half(frames.transform(t)[0], (height, width)) for t in range(len(frames))]
    )
    return made, pixel_size * frames.shape[0] / height


def _patch_counts(shape: tuple[int, int], pixel_size: float) -> tuple[int, int]:
    """Patches along y and x."""
    height, width = (round(side * pixel_size / _PATCH) for side in shape)
    return min(max(height, _FEWEST), _MOST), min(max(width, _FEWEST), _MOST)


def bytes_needed(shape: tuple[int, int, int], itemsize: int, pixel_size: float) -> float:
    """Memory that the work on a movie takes at its fullest, without the libraries.

    Parameters
    ----------
    shape : tuple of int
        Frames, rows, columns.
    itemsize : int
        Bytes of a number in the file.
    pixel_size : float
        Angstrom.
    """
    frames, height, width = shape
    sampled = min(1.0, 2 * _FINER * pixel_size / _LOCAL_RESOLUTION) ** 2
    each = frames * (itemsize + _BYTES_A_SAMPLE * sampled) + _BYTES_A_PIXEL
    return height * width * each


def _group_images(
    transforms: Complex[np.ndarray, "t h w"],
    curve: Float[np.ndarray, "t 2"],
    groups: list[Int[np.ndarray, " n"]],
) -> Float[np.ndarray, "groups height width"]:
    """Sums of neighbouring frames, turned back by the motion of the whole."""
    shape = transforms.shape[1], 2 * (transforms.shape[2] - 1)
    images = np.empty((len(groups), *shape), np.float32)
    rows = all_rows(shape)
    for image, group in zip(images, groups, strict=True):
        total = turned_back(transforms[group], rows, curve[group]).sum(0)
        image[:] = from_half_planes(total, shape)
    return images


def find_motion(
    frames: CorrectedFrames, pixel_size: float, local: bool
) -> tuple[MotionField, float]:
    """Displacements in pixels of the frames' images, and the amplitude of local motion in angstrom.

    Parameters
    ----------
    frames : CorrectedFrames
    pixel_size : float
        Of their images, angstrom.
    local : bool
        Look for local motion too.
    """
    transforms, working = _working_images(frames, pixel_size)
    shape = transforms.shape[1], 2 * (transforms.shape[2] - 1)
    to_images = np.array([frames.shape[1] / shape[1], frames.shape[0] / shape[0]])
    radius = min(working / _WHOLE_RESOLUTION, _HIGHEST)
    rows, coarse = low_rows(shape, radius), low_rows(shape, radius * _COARSE)
    start = coarse_shifts(low_part(transforms, coarse), coarse)
    curve = smoothed(*align_frames(low_part(transforms, rows), rows, start), working)
    none = np.zeros((1, 1, 1, 2))
    if not local:
        return MotionField(curve * to_images, none), 0.0
    groups = frame_groups(len(frames))
    images = _group_images(transforms, curve, groups)
    times = np.array([frame_times(len(frames))[group].mean() for group in groups])
    counts = _patch_counts(shape, working)
    patches = cut_patches(images, counts, min(working / _LOCAL_RESOLUTION, _HIGHEST))
    splines, amplitude = local_splines(patches, times, working)
    return MotionField(curve * to_images, splines * to_images), amplitude


def correct_motion(
    raw: Real[np.ndarray, "t h w"], detector: Detector, settings: MotionSettings
) -> CorrectedMovie:
    """Find a movie's motion and sum its frames without it.

    Parameters
    ----------
    raw : array (frames, height, width)
        Frames as the file holds them.
    detector : Detector
    settings : MotionSettings
    """
    total = raw.sum(0, dtype=np.float64)
    shape = (even_size(raw.shape[1], settings.binning), even_size(raw.shape[2], settings.binning))
    frames = CorrectedFrames(raw, total, detector, shape, settings.seed)
    to_movie = np.array([raw.shape[2] / shape[1], raw.shape[1] / shape[0]])
    pixel_size = settings.pixel_size * to_movie[1]
    field, amplitude = find_motion(frames, pixel_size, settings.local)
    weights, dose = None, settings.exposure
    if dose is not None:
        y = np.fft.fftfreq(shape[0], settings.pixel_size * to_movie[1])
        x = np.fft.rfftfreq(shape[1], settings.pixel_size * to_movie[0])
        weights = DoseWeights(np.hypot(y[:, None], x), dose.doses, dose.before, dose.voltage)
    sums = sum_frames(frames, field, Wanted(settings.plain, weights, settings.halves))
    return CorrectedMovie(
        MotionField(field.curve * to_movie, field.splines * to_movie),
        sums,
        shape,
        np.argwhere(frames.defects),
        amplitude,
    )
