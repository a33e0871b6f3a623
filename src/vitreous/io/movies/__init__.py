"""Movies of MRC, TIFF and EER files: one frame at a time, as the numbers that the file holds."""

from __future__ import annotations

from pathlib import Path

from vitreous.errors import InputError
from vitreous.io.movies.movie import Movie
from vitreous.io.movies.mrc import open_mrc_movie
from vitreous.io.movies.tiff import open_tiff_movie
from vitreous.io.regular import require_regular

__all__ = ["MOVIE_SUFFIXES", "Movie", "open_movie"]

_MRC = (".mrc", ".mrcs", ".st")
_TIFF = (".tif", ".tiff")
_EER = (".eer",)
MOVIE_SUFFIXES = (*_MRC, *_TIFF, *_EER)


def open_movie(path: Path, superresolution: bool = False) -> Movie:
    """Open a movie; frames are read when they are asked for.

    TIFF frames are turned upside down, as RELION, IMOD and MotionCor2 read them.

    Parameters
    ----------
    path : Path
    superresolution : bool
        Of EER files: two by two pixels for each of the detector's.

    Raises
    ------
    InputError
        For a file that is missing, truncated, of another kind, or has fewer than two frames; and
        if a library is missing that the format needs.
    """
    require_regular(path)
    suffix = path.suffix.lower()
    if not path.exists():
        raise InputError("there is no such file", where=path, hint="check the path")
    if suffix in _MRC:
        movie: Movie = open_mrc_movie(path)
    elif suffix in _TIFF:
        movie = open_tiff_movie(path)
    elif suffix in _EER:
        from vitreous.io.movies.eer import open_eer_movie

        movie = open_eer_movie(path, superresolution)
    else:
        raise InputError(
            f"{suffix or 'a name without a suffix'} is no kind of movie",
            where=path,
            hint=f"give files that end in {', '.join(MOVIE_SUFFIXES)}",
        )
    if len(movie) < 2:
        raise InputError(
            f"holds {len(movie)} frame, expected a movie of several",
            where=path,
            hint="give movies; a micrograph that is summed already needs no motion correction",
        )
    return movie
