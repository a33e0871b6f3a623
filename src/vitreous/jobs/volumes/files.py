"""What all tools on maps check: their options, and where their results go."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxtyping import Float
from torch import Tensor

from vitreous.errors import OptionError, OutputError
from vitreous.imaging.map_grid import cubic
from vitreous.io.density import MAP_SUFFIXES, Density
from vitreous.io.mrc import COMPRESSED
from vitreous.runs.targets import spared

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_SMALLEST, _LARGEST = 8, 2048
"""Voxels along an edge that a map can be brought to."""


def option(name: str) -> str:
    """How a field of a configuration is called on the command line."""
    return f"--{name.replace('_', '-')}"


def check_numbers(
    config: DataclassInstance, *, positive: Sequence[str] = (), not_negative: Sequence[str] = ()
) -> None:
    """Refuse numbers that are not finite, and those of some fields that are too small.

    Raises
    ------
    OptionError
    """
    for field in fields(config):
        value: Any = getattr(config, field.name)
        for number in value if isinstance(value, tuple) else (value,):
            if not isinstance(number, int | float):
                continue
            for bad, expected in (
                (not math.isfinite(number), "a finite number"),
                (field.name in positive and number <= 0, "more than 0"),
                (field.name in not_negative and number < 0, "0 or more"),
            ):
                if bad:
                    raise OptionError(
                        f"{number:g} is given", where=option(field.name), hint=f"give {expected}"
                    )


def check_box(box: int, where: str) -> None:
    """Refuse a box that is tiny or does not fit a computer.

    Raises
    ------
    OptionError
    """
    if not _SMALLEST <= box <= _LARGEST:
        raise OptionError(
            f"makes a box of {box} px, expected {_SMALLEST} to {_LARGEST}",
            where=where,
            hint="mind that pixel sizes are in angstrom and boxes in pixels",
        )


def check_resolution(resolution: float, density: Density, path: Path, where: str) -> None:
    """Refuse a resolution that a map cannot have.

    Raises
    ------
    OptionError
    """
    finest = 2 * density.pixel_size
    coarsest = density.values.shape[-1] * density.pixel_size
    if not finest <= resolution <= coarsest:
        raise OptionError(
            f"{resolution:g} A is not among those of {path}, {finest:g} to {coarsest:g} A",
            where=where,
            hint="give a resolution from two pixels to the width of the box",
        )


def whole_cube(density: Density, path: Path) -> Float[Tensor, "n n n"]:
    """Values of a map that is a cube and not constant.

    Raises
    ------
    InputError
    """
    return cubic(density.values.numpy(), path)


def _is_map(path: Path) -> bool:
    kind = path.with_suffix("") if path.suffix.lower() in COMPRESSED else path
    return kind.suffix.lower() in MAP_SUFFIXES


def map_target(out: Path, inputs: Sequence[Path], overwrite: bool) -> Path:
    """A path that a map may be written to.

    Raises
    ------
    VitreousError
        If it is not named as a map, is one of the inputs, or there already.
    """
    if not _is_map(out):
        raise OptionError(
            f"{out} is not named as a map",
            where="--out",
            hint=f"end it in {', '.join(MAP_SUFFIXES[:-1])} or {MAP_SUFFIXES[-1]}",
        )
    return spared(out, inputs, overwrite)


def targets(inputs: Sequence[Path], out: Path, overwrite: bool) -> list[Path]:
    """Where the map made of each input goes: the file ``out`` or, under its own name, the folder.

    A name without a suffix is a folder, made if it is missing.

    Raises
    ------
    VitreousError
        If several maps would go to one file, or one is there already.
    """
    if not out.is_dir() and out.suffix:
        target = map_target(out, inputs, overwrite)
        if len(inputs) > 1:
            raise OptionError(
                f"{out} is one file, but there are {len(inputs)} maps",
                where="--out",
                hint="give a folder",
            )
        return [target]
    names = [path.name if _is_map(path) else f"{path.stem}.mrc" for path in inputs]
    for name, times in Counter(names).items():
        if times > 1:
            raise OptionError(
                f"{times} maps would be called {name}", where="--out", hint="give one at a time"
            )
    found = [map_target(out / name, inputs, overwrite) for name in names]
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot be made: {error.strerror}", where=out) from error
    return found
