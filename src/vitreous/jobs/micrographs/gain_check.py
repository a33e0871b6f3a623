"""Which way the gain reference lies, by the fixed pattern of the first movies."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from vitreous.errors import OptionError, VitreousError
from vitreous.io.movies import Movie, open_movie
from vitreous.preprocessing.motion.gain import Orientation, fitted_orientation

_MOVIES = 3
"""Movies whose frames are summed for it."""

_MOST_FRAMES = 200
"""Frames summed of each: EER movies have thousands."""


def fitted_to(
    gain: Float[np.ndarray, "a b"], shape: tuple[int, int], path: Path, movie: Path
) -> Float[np.ndarray, "c d"]:
    """The gain with as many pixels as the movie, which may be at twice its resolution.

    Raises
    ------
    OptionError
        If no orientation of it has the movie's size.
    """
    for factor in (1, 2):
        sides = tuple(side * factor for side in gain.shape)
        if sides in (shape, shape[::-1]):
            return np.kron(gain, np.ones((factor, factor), np.float32)) if factor > 1 else gain
    raise OptionError(
        f"has {gain.shape[1]} x {gain.shape[0]} pixels, but {movie.name} has {shape[1]} x "
        f"{shape[0]}",
        where=path,
        hint="give the gain reference of these movies",
    )


def _sum(movie: Movie) -> Float[np.ndarray, "h w"]:
    total = np.zeros((movie.height, movie.width))
    for number in range(min(len(movie), _MOST_FRAMES)):
        total += movie.frame(number)
    return total


def _sums(paths: Sequence[Path], superresolution: bool) -> list[tuple[Path, np.ndarray]]:
    """Sums of the first movies that can be read; the others are told when their turn comes."""
    found: list[tuple[Path, np.ndarray]] = []
    for path in paths:
        try:
            found.append((path, _sum(open_movie(path, superresolution))))
        except VitreousError:
            continue
        if len(found) == _MOVIES:
            break
    return found


def checked_orientation(
    path: Path,
    gain: Float[np.ndarray, "a b"],
    movies: Sequence[Path],
    given: Orientation | None,
    superresolution: bool,
) -> tuple[Orientation, dict[str, Any]]:
    """How the gain lies, as given or as the first movies tell, and what the log is told of it.

    Parameters
    ----------
    path : Path
        Of the gain, for messages.
    gain : array
    movies : sequence of Path
    given : Orientation, optional
    superresolution : bool
        Of EER movies.

    Raises
    ------
    OptionError
        If another orientation than the given one fits better, or none fits.
    """
    start = given or Orientation()
    sums = _sums(movies, superresolution)
    if not sums or float(gain[gain > 0].std()) < 1e-6:
        return start, {"orientation": start.words, "found": False}
    fits = []
    for movie, total in sums:
        shape = (total.shape[0], total.shape[1])
        fits.append(fitted_orientation(total, fitted_to(gain, shape, path, movie), start))
    sure = [fit for fit in fits if fit.sure]
    best = sure[0].best if sure and len({fit.best for fit in sure}) == 1 else None
    told = {
        "found": best is not None,
        "correlation": max(fit.correlation for fit in fits),
        "correlation_as_given": None if given is None else max(fit.asked for fit in fits),
    }
    if best is None:
        raise OptionError(
            "leaves as much of the camera's fixed pattern in every orientation (correlation "
            f"{told['correlation']:.3f}): it is of another session, or the movies are corrected "
            "already",
            where=path,
            hint="leave --gain out, or pass --no-gain-check to use it as it is given",
        )
    if given is not None and not np.array_equal(given.apply(gain), best.apply(gain)):
        raise OptionError(
            f"as given ({given.words}) it leaves the camera's fixed pattern: correlation "
            f"{told['correlation_as_given']:.3f}, and {told['correlation']:.3f} with {best.words}",
            where=path,
            hint=f"give {best.words}, or --no-gain-check to go on",
        )
    return given or best, {"orientation": (given or best).words, **told}
