"""Coordinates of picked particles from the files of several programs, by micrograph."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import polars as pl
from jaxtyping import Float

from vitreous.errors import InputError, OptionError
from vitreous.io.regular import require_regular
from vitreous.particles.image_files import find_file
from vitreous.particles.relion.coordinate_lists import listed_files, read_coordinates

Places = dict[str, Float[np.ndarray, "n 2"]]
"""Coordinates (x, y) in pixels, by the micrograph's name."""

_OF_CS = ("location/micrograph_path", "location/center_x_frac", "location/center_y_frac")
_SHAPE = "location/micrograph_shape"
_MICROGRAPH_COLUMNS = ("micrograph", "micrograph_name", "image_name", "filename")


def _rows(path: Path, least: int) -> Float[np.ndarray, "n c"]:
    """Numbers of a text file without a head, at least so many a line."""
    rows = []
    for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
        words = line.replace(",", " ").split()
        if not words or words[0].startswith("#"):
            continue
        try:
            rows.append([float(word) for word in words[:least]])
        except ValueError:
            rows.append([])
        if len(rows[-1]) < least:
            raise InputError(
                f"line {number} is {line.strip()!r}, expected {least} numbers",
                where=path,
                hint="mend or remove that line",
            )
    return np.array(rows, float).reshape(-1, least)


def _box(path: Path) -> dict[str | None, np.ndarray]:
    """EMAN's boxes: corner and size in each line."""
    boxes = _rows(path, 4)
    return {None: boxes[:, :2] + boxes[:, 2:] / 2}


def _csv(path: Path) -> dict[str | None, np.ndarray]:
    """A table with columns x and y, and the micrograph's name if there are several."""
    try:
        frame = pl.read_csv(path)
    except pl.exceptions.PolarsError as error:
        raise InputError(f"is no table of comma-separated values: {error}", where=path,
                         hint="write it with a head that names x and y") from error  # fmt: skip
    named = {name.strip().lower(): name for name in frame.columns}
    found = [named.get(axis, named.get(f"{axis}-coordinate")) for axis in "xy"]
    if None in found:
        raise InputError(
            f"has the columns {', '.join(frame.columns)}, expected x and y",
            where=path,
            hint="name the columns of coordinates x and y",
        )
    places = frame.select(pl.col(str(name)).cast(pl.Float64, strict=False) for name in found)
    if any(places.null_count().row(0)):
        bad = int(places.select(pl.any_horizontal(pl.all().is_null())).to_series().arg_max() or 0)
        raise InputError(
            f"row {bad + 1} has no numbers for x and y", where=path, hint="mend that row"
        )
    values = places.to_numpy()
    of = next((named[name] for name in _MICROGRAPH_COLUMNS if name in named), None)
    if of is None:
        return {None: values}
    names = frame[of].cast(pl.String).to_numpy()
    return {str(name): values[names == name] for name in dict.fromkeys(names)}


def _cs(path: Path) -> dict[str | None, np.ndarray]:
    """Picks of cryoSPARC: places as fractions of the micrograph's sides."""
    try:
        table = np.load(path, allow_pickle=False)
    except (ValueError, OSError) as error:
        raise InputError(
            f"cannot be read as a .cs table: {error}",
            where=path,
            hint="give picked or extracted particles as cryoSPARC exports them",
        ) from error
    missing = [name for name in (*_OF_CS, _SHAPE) if name not in (table.dtype.names or ())]
    if missing:
        raise InputError(
            f"has no column {missing[0]}, which holds places on micrographs",
            where=path,
            hint="give the passthrough file of the picks too, merged into this one",
        )
    names = np.array([n.decode() if isinstance(n, bytes) else str(n) for n in table[_OF_CS[0]]])
    shape = table[_SHAPE].astype(float)  # rows, columns
    places = np.stack([table[_OF_CS[1]] * shape[:, 1], table[_OF_CS[2]] * shape[:, 0]], -1)
    return {str(name): places[names == name] for name in dict.fromkeys(names)}


def _star(path: Path) -> dict[str | None, np.ndarray]:
    """RELION's: coordinates, or a list of files with them."""
    files = listed_files(path)
    if not files:
        return read_coordinates(path)
    found: dict[str | None, np.ndarray] = {}
    for micrograph, name in files.items():
        file = find_file(name, path)
        if file is None:
            raise InputError(
                f"names {name}, which is not there", where=path, hint="restore that file"
            )
        found[micrograph] = next(iter(read_coordinates(file).values()))
    return found


_READERS = {".star": _star, ".box": _box, ".csv": _csv, ".cs": _cs}
COORDINATE_SUFFIXES = tuple(_READERS)


def _owner(path: Path, stems: dict[str, str]) -> str:
    """The micrograph that a file is named after, be there more words after it."""
    stem = path.name.removesuffix(path.suffix)
    while stem and stem not in stems:
        stem = stem[: max(stem.rfind("_"), stem.rfind("."), 0)]
    if not stem:
        raise InputError(
            "is named after none of the micrographs",
            where=path,
            hint="rename it NAME_picks.star and so on, NAME being the micrograph's",
        )
    return stems[stem]


def read_picks(files: Sequence[Path], micrographs: Iterable[str] | None) -> Places:
    """Read coordinates of all files, by micrograph.

    Parameters
    ----------
    files : sequence of Path
        RELION's STAR, EMAN's .box, .csv with columns x and y, or cryoSPARC's .cs.
    micrographs : iterable of str, optional
        Names of the micrographs; files that do not tell theirs are named after one of them.

    Raises
    ------
    InputError
        For a file that holds no coordinates, or is of no micrograph.
    OptionError
        If micrographs are needed and none are given.
    """
    names = None if micrographs is None else list(micrographs)
    stems = {Path(name).name.removesuffix(Path(name).suffix): name for name in names or ()}
    found: dict[str, list[np.ndarray]] = {}
    for file in files:
        require_regular(file)
        if not file.exists():
            raise InputError("there is no such file", where=file, hint="check the path")
        read = _READERS[file.suffix.lower()](file)
        for micrograph, places in read.items():
            if micrograph is None and names is None:
                raise OptionError(
                    f"is needed, as {file.name} does not name the micrograph that it is of",
                    where="--micrographs",
                    hint="give the STAR file of the micrographs",
                )
            key = micrograph if micrograph is not None else _owner(file, stems)
            if names is not None and key not in names:
                key = _owner(Path(key), stems)
            found.setdefault(key, []).append(places)
    return {name: np.concatenate(places) for name, places in found.items()}
