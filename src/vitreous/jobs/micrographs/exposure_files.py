"""The exposures that a job is given: a table, files, or patterns of names."""

from __future__ import annotations

import glob
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vitreous.config.movies import OpticsOptions
from vitreous.errors import InputError, OptionError
from vitreous.io.text import cell_of
from vitreous.particles.exposures import ExposureOptics, Exposures
from vitreous.particles.relion.exposures import read_exposures

_PATTERN = "*?["


def expanded(files: Sequence[Path]) -> list[Path]:
    """Files, patterns replaced by what they match, in order.

    Raises
    ------
    InputError
        If a pattern matches nothing.
    """
    found: list[Path] = []
    for file in files:
        text = str(file)
        if file.exists() or not any(sign in text for sign in _PATTERN):
            found.append(file)
            continue
        matched = sorted(glob.glob(text, recursive=True))  # noqa: PTH207 - Path's takes no root
        if not matched:
            raise InputError("matches no file", where=text, hint="check the pattern and the folder")
        found += [Path(name) for name in matched]
    return list(dict.fromkeys(found))


def optics_of(options: OpticsOptions) -> ExposureOptics:
    """Optics as the options give them.

    Raises
    ------
    OptionError
        If the pixel size is missing, or a number is not above zero.
    """
    for name in ("pixel_size", "voltage", "dose"):
        value, option = getattr(options, name), f"--{name.replace('_', '-')}"
        if value is not None and not value > 0:
            raise OptionError(f"{value:g} is not above 0", where=option, hint="give what it was")
    if options.pixel_size is None:
        raise OptionError(
            "is needed for files that no table describes",
            where="--pixel-size",
            hint="give angstrom a pixel",
        )
    return ExposureOptics(
        name="opticsGroup1",
        pixel_size=options.pixel_size,
        voltage=options.voltage,
        cs=options.cs,
        amplitude_contrast=options.amplitude_contrast,
        gain=None if options.gain is None else cell_of(options.gain),
        dose=options.dose,
    )


def exposures_of(files: Sequence[Path], options: OpticsOptions, kind: str) -> Exposures:
    """The exposures of one table, or of files.

    Parameters
    ----------
    files : sequence of Path
    options : OpticsOptions
        Describe files; a table brings its own, of which a dose and a gain may be given anew.
    kind : str
        movies or micrographs: what is expected.

    Raises
    ------
    InputError
        If there is nothing, or a table is of the other kind.
    OptionError
        If files come without a pixel size.
    """
    found = expanded(files)
    if not found:
        raise OptionError(f"no {kind} are given", hint="give a STAR file or files")
    if len(found) > 1 or found[0].suffix.lower() != ".star":
        names = tuple(cell_of(file) for file in found)
        return Exposures(kind, names, (optics_of(options),), np.zeros(len(names), int))
    table = read_exposures(found[0])
    if table.kind != kind:
        raise InputError(
            f"is a table of {table.kind}, expected {kind}",
            where=found[0],
            hint=f"give the table of {kind}",
        )
    return table


def output_stems(names: Sequence[str]) -> list[str]:
    """Names without folders and suffixes for what is made of files, all different.

    Raises
    ------
    InputError
        If two files have the same name in folders of the same name.
    """
    paths = [Path(name) for name in names]
    stems = [path.name.removesuffix(path.suffix) for path in paths]
    count = Counter(stems)
    stems = [
        stem if count[stem] == 1 else f"{path.parent.name}_{stem}"
        for stem, path in zip(stems, paths, strict=True)
    ]
    twice = [stem for stem, times in Counter(stems).items() if times > 1]
    if twice:
        raise InputError(
            f"two files would both be called {twice[0]}", hint="rename one, or give them apart"
        )
    return stems
