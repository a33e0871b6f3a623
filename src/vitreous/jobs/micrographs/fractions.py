"""Frames of a movie as they are aligned: those chosen, of EER movies summed to fractions."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float, Real

from vitreous.errors import InputError, OptionError
from vitreous.io.movies import Movie
from vitreous.io.movies.eer import EerMovie

_FEWEST = 3
"""Fractions without which no motion is found."""


@dataclass(frozen=True)
class FrameChoice:
    """Which frames are used, and how EER frames are summed.

    Attributes
    ----------
    first : int
        Counted from 1.
    last : int, optional
    dose : float, optional
        Of a frame of the file, e/A^2.
    total_dose : float, optional
        Of all frames of the file.
    fraction_dose : float
        Of a fraction, e/A^2.
    eer_frames : int, optional
        Of a fraction.
    """

    first: int
    last: int | None
    dose: float | None
    total_dose: float | None
    fraction_dose: float
    eer_frames: int | None

    def frame_dose(self, movie: Movie) -> float | None:
        """Dose of a frame of the file, e/A^2; None if it is not known."""
        if self.total_dose is not None:
            return self.total_dose / len(movie)
        return self.dose


def _limits(movie: Movie, choice: FrameChoice) -> tuple[int, int]:
    """First frame used, from 0, and the one after the last."""
    last = len(movie) if choice.last is None else choice.last
    if not 1 <= choice.first < last <= len(movie):
        raise InputError(
            f"has {len(movie)} frames, but {choice.first} to {last} are asked for",
            where=movie.path,
            hint="give another --first-frame or --last-frame",
        )
    return choice.first - 1, last


def _eer_edges(movie: EerMovie, choice: FrameChoice, first: int, last: int) -> list[int]:
    """Where fractions begin and the last ends."""
    count = last - first
    if choice.eer_frames is not None:
        over = count % choice.eer_frames
        if over:
            raise InputError(
                f"{count} frames do not make whole fractions of {choice.eer_frames}: {over} are "
                "left over",
                where=movie.path,
                hint=f"give --last-frame {last - over}, or leave --eer-frames out and have "
                "fractions by their dose",
            )
        return list(range(first, last + 1, choice.eer_frames))
    dose = choice.frame_dose(movie)
    if dose is None:
        raise OptionError(
            "frames of EER movies are summed to fractions by their dose, which is not given",
            where="--dose",
            hint="give --dose, --total-dose or --eer-frames",
        )
    fractions = min(max(round(count * dose / choice.fraction_dose), _FEWEST), count)
    return [first + round(count * part / fractions) for part in range(fractions + 1)]


def read_fractions(
    movie: Movie, choice: FrameChoice
) -> tuple[Real[np.ndarray, "t h w"], Float[np.ndarray, " t"] | None, int]:
    """Read the frames to be aligned, in the file's own type of numbers.

    Returns
    -------
    The fractions, the dose of each in e/A^2 if it is known, and the first one's frame from 1.

    Raises
    ------
    InputError
        If a frame cannot be read, or there are not as many as are asked for.
    OptionError
        If EER frames cannot be summed for want of a dose.
    """
    first, last = _limits(movie, choice)
    if isinstance(movie, EerMovie):
        edges = _eer_edges(movie, choice, first, last)
    else:
        edges = list(range(first, last + 1))
    if len(edges) <= _FEWEST:
        raise InputError(
            f"{len(edges) - 1} frames are too few to find motion, expected {_FEWEST} at least",
            where=movie.path,
            hint="use more frames",
        )
    raw = np.empty((len(edges) - 1, movie.height, movie.width), movie.dtype)
    for number, (start, stop) in enumerate(pairwise(edges)):
        if isinstance(movie, EerMovie):
            raw[number] = movie.summed(start, stop)
        else:
            raw[number] = movie.frame(start)
    dose = choice.frame_dose(movie)
    return raw, None if dose is None else np.diff(edges) * dose, first + 1
