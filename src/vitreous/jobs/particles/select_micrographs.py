"""Write some micrographs of a table: those not rejected, by their columns or at random."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import MISSING, fields
from pathlib import Path

import numpy as np
import polars as pl

from vitreous.config.particles import SelectConfig
from vitreous.errors import InputError, OptionError
from vitreous.jobs.particles.steps import Step
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


def _steps(config: SelectConfig, table: MicrographTable) -> Iterator[tuple[str, MicrographTable]]:
    """Name of each step, and what it leaves."""
    if config.auto:
        if not table.has(VERDICT):
            raise InputError(
                f"no column _{VERDICT}: nothing was said of these micrographs",
                where=table.path,
                hint="give the micrographs_ctf.star of vitreous ctf, or choose with --where",
            )
        table = table.take(np.flatnonzero(~table.rejected))
        yield "not rejected by vitreous ctf", table
    for condition in config.where:
        table = table.take(np.flatnonzero(fulfilled(condition, _joined(table), table.path)))
        yield condition, table
    if config.random is not None:
        table = table.take(random_rows(len(table), config.random, config.seed))
        yield f"{config.random} at random", table


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
    steps = [Step("read", len(table))]
    for what, left in _steps(config, table):
        table = left
        steps.append(Step(what, len(table)))
        if not len(table):
            raise InputError(
                f"no micrograph is left of {steps[-2].particles} after the step {what!r}",
                where=config.particles,
                hint="ask for less",
            )
    return steps, table
