"""The work on one movie, as a worker process does it: read, correct, write."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from vitreous.errors import InputError
from vitreous.io.detector import read_defects, read_gain
from vitreous.io.movies import open_movie
from vitreous.io.movies.eer import EerMovie
from vitreous.io.mrc import write_map
from vitreous.jobs.micrographs.fractions import FrameChoice, read_fractions
from vitreous.jobs.micrographs.gain_check import fitted_to
from vitreous.particles.exposures import ExposureOptics
from vitreous.particles.relion.motion import fitted_polynomial, write_motion
from vitreous.preprocessing.motion.correct import (
    CorrectedMovie,
    Exposure,
    MotionSettings,
    correct_motion,
)
from vitreous.preprocessing.motion.frames import Detector
from vitreous.preprocessing.motion.gain import Orientation

_EARLY = 4.0
"""Dose in e/A^2 up to which motion counts as early."""

_TRACKS = 5
"""Places along each side whose displacements are written."""

_GRID = 9
"""Places along each side that RELION's polynomial is fitted at."""


@dataclass(frozen=True)
class MovieOutputs:
    """Files made of a movie, by names from the job's folder; others are None.

    Attributes
    ----------
    micrograph : str
        Weighted by dose if it is known.
    metadata : str
    plain, odd, even : str or None
    """

    micrograph: str
    metadata: str
    plain: str | None = None
    odd: str | None = None
    even: str | None = None

    @property
    def files(self) -> tuple[str, ...]:
        """All of them."""
        found = (self.micrograph, self.metadata, self.plain, self.odd, self.even)
        return tuple(name for name in found if name is not None)


@dataclass(frozen=True)
class MovieTask:
    """A movie and what is made of it.

    Attributes
    ----------
    name : str
        As tables call it.
    path : Path
    optics : ExposureOptics
    gain : Path, optional
    orientation : Orientation
        Of the gain.
    outputs : MovieOutputs
    """

    name: str
    path: Path
    optics: ExposureOptics
    gain: Path | None
    orientation: Orientation
    outputs: MovieOutputs


@dataclass(frozen=True)
class MovieSettings:
    """What is the same for all movies of a job.

    Attributes
    ----------
    folder : Path
        Where the outputs go.
    choice : FrameChoice
        The dose of a frame comes from the movie's optics if it is not in the choice.
    before : float
        Dose before the first frame, e/A^2.
    weigh, local : bool
    binning : float
    defects : Path, optional
    superresolution : bool
        Of EER movies.
    float16 : bool
    seed : int
    """

    folder: Path
    choice: FrameChoice
    before: float = 0.0
    weigh: bool = True
    local: bool = True
    binning: float = 1.0
    defects: Path | None = None
    superresolution: bool = False
    float16: bool = False
    seed: int = 0


@lru_cache(maxsize=4)
def _gain(path: Path) -> Float[np.ndarray, "a b"]:
    return read_gain(path)


def _detector(task: MovieTask, settings: MovieSettings, shape: tuple[int, int]) -> Detector:
    gain = None
    if task.gain is not None:
        fitted = fitted_to(_gain(task.gain), shape, task.gain, task.path)
        gain = np.ascontiguousarray(task.orientation.apply(fitted))
        if gain.shape != shape:
            raise InputError(
                f"turned ({task.orientation.words}) has {gain.shape[1]} x {gain.shape[0]} pixels, "
                f"the movie {shape[1]} x {shape[0]}",
                where=task.gain,
                hint="give the orientation of these movies",
            )
    known = None if settings.defects is None else read_defects(settings.defects, shape)
    return Detector(gain, known)


def _accumulated(
    curve: Float[np.ndarray, "t 2"], doses: Float[np.ndarray, " t"] | None, pixel_size: float
) -> dict[str, float]:
    """Length of the path in angstrom, in all, and before and after the early dose."""
    steps = np.hypot(*np.diff(curve, axis=0).T) * pixel_size
    early = np.zeros(len(steps), bool) if doses is None else np.cumsum(doses)[1:] <= _EARLY
    total, first = float(steps.sum()), float(steps[early].sum())
    return {"total": total, "early": first, "late": total - first}


def _write_sums(
    task: MovieTask, settings: MovieSettings, made: CorrectedMovie, pixel: float
) -> None:
    sums, names = made.sums, task.outputs
    best = sums.plain if sums.weighted is None else sums.weighted
    dtype = np.float16 if settings.float16 else np.float32
    for name, image in (
        *((names.micrograph, best), (names.plain, sums.plain)),
        *((names.odd, sums.odd), (names.even, sums.even)),
    ):
        if name is not None and image is not None:
            write_map(settings.folder / name, image[None], pixel, dtype=np.dtype(dtype))


def _write_metadata(
    task: MovieTask, settings: MovieSettings, made: CorrectedMovie, general: dict[str, Any]
) -> None:
    """Write the movie's motion: RELION's polynomial, and the displacements at some places."""
    places = (np.arange(_GRID) + 0.5) / _GRID
    curve, field = made.field.whole_curve(), made.field
    coefficients, local = None, np.zeros((_TRACKS**2, len(curve), 2))
    some = (np.arange(_TRACKS) + 0.5) / _TRACKS
    width, height = general["width"], general["height"]
    centres = np.stack(np.meshgrid(some * width, some * height), -1).reshape(-1, 2)
    if field.is_local:
        apart = field.at(places, places) - curve[:, None, None]
        coefficients = fitted_polynomial(apart, places, places)
        local = (field.at(some, some) - curve[:, None, None]).reshape(len(curve), -1, 2)
        local = local.transpose(1, 0, 2)
    path = settings.folder / task.outputs.metadata
    write_motion(path, general, curve, coefficients, (centres, local), made.defects)


def correct_movie(settings: MovieSettings, task: MovieTask) -> dict[str, Any]:
    """Correct a movie and write its micrographs and its motion.

    Returns
    -------
    What the job's record says of it.

    Raises
    ------
    VitreousError
        For a movie or a gain that cannot be used.
    """
    began = time.process_time()
    movie = open_movie(task.path, settings.superresolution)
    choice = settings.choice
    if choice.dose is None:
        choice = replace(choice, dose=task.optics.dose)
    raw, doses, first = read_fractions(movie, choice)
    if not raw.any():
        raise InputError("all its frames are empty", where=task.path, hint="leave it out")
    scale = movie.scale if isinstance(movie, EerMovie) else 1
    pixel_size = task.optics.pixel_size / scale
    weigh = settings.weigh and doses is not None
    exposure = None
    if weigh and doses is not None:
        exposure = Exposure(doses, settings.before, task.optics.voltage)
    motion = MotionSettings(
        pixel_size,
        settings.binning,
        settings.local,
        plain=not weigh or task.outputs.plain is not None,
        halves=task.outputs.odd is not None,
        exposure=exposure,
        seed=settings.seed,
    )
    detector = _detector(task, settings, (movie.height, movie.width))
    made = correct_motion(raw, detector, motion)
    pixel = pixel_size * movie.height / made.shape[0]
    _write_sums(task, settings, made, pixel)
    general = {
        **{"width": movie.width, "height": movie.height, "frames": first - 1 + len(raw)},
        "movie": task.name,
        **({} if task.gain is None else {"gain": str(task.gain)}),
        **{"binning": float(settings.binning), "pixel_size": pixel_size},
        **({} if doses is None else {"dose": float(doses.mean())}),
        **{"before": settings.before, "voltage": task.optics.voltage, "first_frame": first},
        **({"upsampling": scale} if isinstance(movie, EerMovie) else {}),
    }
    _write_metadata(task, settings, made, general)
    return {
        "frames": len(raw),
        "pixel_size": pixel,
        "pixel_size_movie": pixel_size,
        "width": made.shape[1],
        "height": made.shape[0],
        "dose": None if doses is None else float(doses.sum()),
        "motion": _accumulated(made.field.whole_curve(), doses, pixel_size),
        "local_amplitude": made.amplitude,
        "defects": len(made.defects),
        "cpu_s": round(time.process_time() - began, 2),
    }
