"""Image names, NUMBER@FILE: the files they lead to, and names for a table in another folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import polars as pl
from jaxtyping import Int

from vitreous.errors import InputError
from vitreous.io.regular import is_file
from vitreous.io.text import cell_of, path_of

_NAME = r"^(?:(?<index>\d+)@)?(?<file>.+)$"
"""Only the first @ parts number and file: folders and files may have some in their names."""

_NUMBERED = r"^[0-9]+@[^\n]+$"


@dataclass(frozen=True)
class ImageFiles:
    """Where the particles' images are.

    Attributes
    ----------
    stacks : tuple of Path
        Files.
    stack_of : int32 array (particles,)
        Index into ``stacks``.
    index : int64 array (particles,)
        Index in the file, from 0.
    whole : int array (files,)
        Indices of the stacks that some particle names without a number.
    """

    stacks: tuple[Path, ...]
    stack_of: Int[np.ndarray, " n"]
    index: Int[np.ndarray, " n"]
    whole: Int[np.ndarray, " f"]

    @classmethod
    def of_stack(cls, stack: Path, images: int) -> ImageFiles:
        """All images of one stack, in order."""
        return cls.of_stacks((stack,), np.zeros(images, dtype=np.int32))

    @classmethod
    def of_stacks(cls, stacks: tuple[Path, ...], stack_of: Int[np.ndarray, " n"]) -> ImageFiles:
        """All images of some stacks, in order in each."""
        index = np.empty(len(stack_of), dtype=np.int64)
        for number in range(len(stacks)):
            own = stack_of == number
            index[own] = np.arange(int(own.sum()))
        return cls(stacks, stack_of.astype(np.int32), index, np.empty(0, dtype=np.int64))

    def named(self, *files: str) -> pl.Series:
        """Image names, given those of the files."""
        numbers = pl.Series(self.index + 1).cast(pl.String).str.zfill(6)
        return numbers + "@" + pl.Series(files, dtype=pl.String).gather(self.stack_of)

    def take(self, rows: Int[np.ndarray, " m"]) -> ImageFiles:
        """Files of some particles."""
        return replace(self, stack_of=self.stack_of[rows], index=self.index[rows])


def _places(star: Path) -> list[Path]:
    """Folders that names in a STAR file may be relative to."""
    # A link's own place counts before its target's.
    link, target = star.absolute().parent, star.resolve().parent
    places = (link, *link.parents, target, *target.parents, Path.cwd())
    return list(dict.fromkeys(places))


def _finder(places: Sequence[Path]) -> Callable[[Path], Path | None]:
    """What finds files by paths relative to some of the places.

    Thousands of files lie in a few folders, so that it is remembered which of these there are.
    """

    @lru_cache(maxsize=1024)
    def folders(relative: Path) -> list[Path]:
        return [place / relative for place in places if os.path.isdir(place / relative)]  # noqa: PTH112

    def found(path: Path) -> Path | None:
        if path.is_absolute():
            return path if is_file(path) else None
        there = (folder / path.name for folder in folders(path.parent))
        return next((file for file in there if is_file(file)), None)

    return found


def find_files(names: Iterable[str], star: Path) -> Iterator[Path | None]:
    """Resolve paths against the STAR file's folder, its parents and the current one."""
    return map(_finder(_places(star)), map(path_of, names))


def find_file(name: str, star: Path) -> Path | None:
    """Resolve a path: :func:`find_files`."""
    return next(find_files([name], star))


def _not_found(name: str, star: Path, column: str) -> InputError:
    folders = dict.fromkeys(str(f) for f in (star.absolute().parent, star.resolve().parent))
    looked = (
        "as given"
        if path_of(name).is_absolute()
        else f"in {' and '.join(folders)}, the folders above and {Path.cwd()}"
    )
    return InputError(
        f"the image file {name} was looked for {looked} and is not there",
        where=star,
        hint=f"copy it there or mend {column}",
    )


def name_parts(names: pl.Series) -> pl.DataFrame:
    """Texts ``index``, null where there is none, and ``file`` of image names.

    Both are null for what is no image name.
    """
    if names.str.contains(_NUMBERED).all():  # as nearly always: splitting is faster by far
        parts = names.str.splitn("@", 2).struct.unnest()
        return parts.rename(dict(zip(parts.columns, ("index", "file"), strict=True)))
    return names.str.extract_groups(_NAME).struct.unnest()


def read_image_files(names: pl.Series, star: Path, column: str, *, needed: bool) -> ImageFiles:
    """Files and indices of all particles.

    Parameters
    ----------
    names : polars Series
        NUMBER@FILE of each particle.
    star : Path
        The file that has them, and ``column`` the name there.
    needed : bool
        Require the files to be there; others keep their names.

    Raises
    ------
    InputError
        For names that do not parse, and files that are needed and not there.
    """
    parts = name_parts(names)
    index = parts["index"].fill_null("1").cast(pl.Int64, strict=False)
    bad = parts["file"].is_null() | (index.fill_null(0) < 1)
    if bad.any():
        row = int(bad.arg_max() or 0)
        raise InputError(
            f"row {row + 1}: {names[row]!r} is no image name, expected NUMBER@FILE from 1",
            where=star,
            hint="mend that cell",
        )
    files = parts["file"].unique(maintain_order=True)
    stack_of = parts["file"].replace_strict(files, range(len(files)), return_dtype=pl.Int32)
    find, stacks = _finder(_places(star)), list[Path]()
    for name in files:
        path = path_of(name)
        found = find(path)
        if found is None and needed:
            raise _not_found(name, star, column)
        stacks.append(found or path)
    whole = stack_of.filter(parts["index"].is_null()).unique().to_numpy()
    return ImageFiles(tuple(stacks), stack_of.to_numpy(), index.to_numpy() - 1, whole)


def _leads_to(name: str, find: Callable[[Path], Path | None], stack: Path) -> bool:
    """Whether a file's name in a STAR file means ``stack``, given what finds it."""
    found = find(path_of(name))
    return found is not None and found.samefile(stack)


def name_from(folder: Path, file: Path, root: Path | None = None) -> str:
    """Name of a file in the tables of a folder.

    RELION takes names as relative to where it runs, a project's root; here they are looked for in
    the folders above the table as well. So a name is relative to ``root``, or else to the current
    folder, if that lies above both, and absolute otherwise.
    """
    file, folder = file.resolve(), folder.resolve()
    for place in (root, Path.cwd()):
        above = None if place is None else place.resolve()
        if above is not None and file.is_relative_to(above) and folder.is_relative_to(above):
            name = cell_of(file.relative_to(above))
            if not file.exists() or _leads_to(name, _finder(_places(folder / "any.star")), file):
                return name
    return cell_of(file)


def project_root(names: pl.Series, files: ImageFiles) -> Path | None:
    """Folder that the image names are relative to; None if they are absolute, or lead upwards."""
    name = path_of(file_part(names[0]))
    stack = files.stacks[files.stack_of[0]]
    return None if name.is_absolute() or ".." in name.parts else stack.parents[len(name.parts) - 1]


def file_part(name: str) -> str:
    """Name of the file in an image's name."""
    number, at, file = name.partition("@")
    return file if at and number.isdigit() else name


def names_in(folder: Path, names: pl.Series, files: ImageFiles) -> pl.Series:
    """Names of the same images for a table in ``folder``.

    Names that lead to the same file from there stay as they are, as a RELION project gives all of
    them from its root, and so do those of files that are nowhere. Others: :func:`name_from`.
    """
    used, first = np.unique(files.stack_of, return_index=True)
    kept = np.ones(len(files.stacks), dtype=bool)
    made = [""] * len(files.stacks)
    root, find = project_root(names, files), _finder(_places(folder / "any.star"))
    for number, row in zip(used.tolist(), first.tolist(), strict=True):
        stack = files.stacks[number]
        kept[number] = not is_file(stack) or _leads_to(file_part(names[row]), find, stack)
        made[number] = "" if kept[number] else name_from(folder, stack, root)
    if kept.all():
        return names
    others = files.named(*made)
    if len(files.whole):  # a file of one image needs no number
        numberless = ~names.str.contains(r"^\d+@")
        others = others.zip_with(~numberless, others.str.splitn("@", 2).struct[1])
    return names.zip_with(pl.Series(kept[files.stack_of]), others)
