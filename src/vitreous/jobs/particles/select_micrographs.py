"""Write some micrographs of a table: those not rejected, by their columns or at random."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import MISSING, fields
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl

from vitreous.config.particles import SelectConfig
from vitreous.errors import InputError, OptionError
from vitreous.jobs.particles.steps import Step, taken
from vitreous.particles.expression import fulfilled
from vitreous.particles.relion.micrograph_table import MicrographTable, read_micrographs
from vitreous.particles.relion.names import VERDICT
from vitreous.particles.selection import random_rows

_HEAD = 1 << 16
"""Bytes of a file in which its first block of rows begins."""

_OPTIONS = ("particles", "out", "auto", "where", "random", "seed", "split", "overwrite")
"""Options that micrographs can be selected by."""


def holds_micrographs(path: Path) -> bool:
    """Whether a file is a STAR file of micrographs, by the names of its blocks."""
    if path.suffix != ".star" or not path.is_file():
        return False
    with path.open("rb") as file:
        named = re.findall(rb"^data_(\w*)\s*$", file.read(_HEAD), re.MULTILINE)
    return b"micrographs" in named and b"particles" not in named


def _check(config: SelectConfig) -> None:
    for field in fields(config):
        default = field.default
        if field.name in _OPTIONS or default is MISSING or getattr(config, field.name) == default:
            continue
        raise OptionError(
            "is for particles",
            where=f"--{field.name.strip('_').replace('_', '-')}",
            hint=f"{config.particles} holds micrographs: choose with --auto, --where or --random",
        )
    if config.split == "class":
        raise OptionError("micrographs have no class", where="--split", hint="give a number")


def _joined(table: MicrographTable) -> pl.DataFrame:
    """Columns of the micrographs and of their optics groups."""
    rows, optics = table.rows.frame, table.optics_frame[table.group]
    return rows.with_columns([optics[name] for name in optics.columns if name not in rows.columns])


def _not_rejected(table: MicrographTable) -> MicrographTable:
    if not table.has(VERDICT):
        raise InputError(
            f"no column _{VERDICT}: nothing was said of these micrographs",
            where=table.path,
            hint="give the micrographs_ctf.star of vitreous ctf, or choose with --where",
        )
    return table.take(np.flatnonzero(~table.rejected))


def _where(table: MicrographTable, condition: str) -> MicrographTable:
    return table.take(np.flatnonzero(fulfilled(condition, _joined(table), table.path)))


def _changes(
    config: SelectConfig,
) -> Iterator[tuple[str, Callable[[MicrographTable], MicrographTable]]]:
    """Name of each step, and what it makes of a table."""
    if config.auto:
        yield "not rejected by vitreous ctf", _not_rejected
    for condition in config.where:
        yield condition, partial(_where, condition=condition)
    number = config.random
    if number is not None:
        yield (
            f"{number} at random",
            lambda table: table.take(random_rows(len(table), number, config.seed)),
        )


def micrographs_selected(config: SelectConfig) -> tuple[list[Step], MicrographTable]:
    """The steps that were taken, and what they left.

    Raises
    ------
    VitreousError
        For options that are for particles, a table that cannot be read, and where no micrograph is
        left.
    """
    _check(config)
    table = read_micrographs(config.particles)
    return taken(table, _changes(config), "micrograph", config.particles)
