"""Which particles to keep: by class, posterior, conditions on columns, or at random."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import polars as pl
from jaxtyping import Bool, Float, Int

from vitreous.errors import InputError, OptionError
from vitreous.particles.columns import numbers, whole_numbers
from vitreous.particles.expression import fulfilled
from vitreous.particles.poses import require_columns
from vitreous.particles.table import ParticleTable

CLASS, POSTERIOR, SUBSET = "rlnClassNumber", "rlnMaxValueProbDistribution", "rlnRandomSubset"

_CLASS_POSTERIOR = "vitreousClassPosterior"
_NOISE_POSTERIOR, _JUNK_POSTERIOR = "vitreousNoiseProbability", "vitreousJunkProbability"

_MERITS = (POSTERIOR, "rlnAutopickFigureOfMerit")
"""Columns that tell which of two particles is the better one, the first there counts."""


def codes(table: ParticleTable, column: str) -> Int[np.ndarray, " n"]:
    """Number, from 0, of each particle's text in a column: its micrograph, or its image."""
    require_columns(table, (column,), "give particles with it")
    return table.block.frame[column].rank("dense").to_numpy().astype(np.int64) - 1


def class_numbers(table: ParticleTable) -> Int[np.ndarray, " n"]:
    """Class of each particle.

    Raises
    ------
    InputError
        Without the column rlnClassNumber.
    """
    require_columns(table, (CLASS,), "give the particles of a classification")
    return whole_numbers(table.block, CLASS, table.path)


def random_subsets(table: ParticleTable, hint: str) -> Int[np.ndarray, " n"]:
    """Half, 1 or 2, that each particle is in: rlnRandomSubset.

    Parameters
    ----------
    table : ParticleTable
    hint : str
        What to do without that column.

    Raises
    ------
    InputError
        Without the column, and for other numbers, naming the first row.
    """
    require_columns(table, (SUBSET,), hint)
    subset = whole_numbers(table.block, SUBSET, table.path)
    odd = ~np.isin(subset, (1, 2))
    if odd.any():
        row = int(odd.argmax())
        raise InputError(
            f"{table.row_name(row)} has {subset[row]} in the column _{SUBSET}, expected 1 or 2",
            where=table.path,
            hint=f"mend that cell, or {hint}",
        )
    return subset


def in_classes(table: ParticleTable, wanted: Collection[int]) -> Bool[np.ndarray, " n"]:
    """Which particles are in some classes.

    Raises
    ------
    InputError
        If one of the classes has no particle, listing those that have.
    """
    classes = class_numbers(table)
    there, counts = np.unique(classes, return_counts=True)
    absent = sorted(set(wanted) - set(there.tolist()))
    if absent:
        found = ", ".join(f"{c} ({n})" for c, n in zip(there, counts, strict=True))
        raise InputError(
            f"no particle is in class {' or '.join(map(str, absent))}; the classes (particles) "
            f"are {found}",
            where=table.path,
            hint="choose among these",
        )
    return np.isin(classes, list(wanted))


def pose_posterior(table: ParticleTable) -> Float[np.ndarray, " n"]:
    """Posterior of each particle's best pose, rlnMaxValueProbDistribution."""
    require_columns(table, (POSTERIOR,), "give the particles of a refinement or classification")
    return numbers(table.block, POSTERIOR, table.path)


def class_posterior(table: ParticleTable) -> Float[np.ndarray, " n"]:
    """Posterior of the class that each particle is in, as ``vitreous abinit`` writes it.

    Read from vitreousClassPosteriorN with N the particle's class, or, for the class of noise that
    comes after the last of them, from vitreousNoiseProbability, and for other junk after that from
    vitreousJunkProbability.

    Raises
    ------
    InputError
        Without these columns, as where a search had one class only.
    """
    classes = class_numbers(table)
    posterior = np.empty(len(table))
    maps = max(1, sum(name.startswith(_CLASS_POSTERIOR) for name in table.columns))
    for number in np.unique(classes):
        name = f"{_CLASS_POSTERIOR}{number}"
        if number > maps:
            name = _NOISE_POSTERIOR if number == maps + 1 else _JUNK_POSTERIOR
        require_columns(table, (name,), "give particles that vitreous sorted into several classes")
        member = classes == number
        posterior[member] = numbers(table.block, name, table.path)[member]
    return posterior


def where(table: ParticleTable, condition: str) -> Bool[np.ndarray, " n"]:
    """Which particles fulfil a condition on their columns or their optics group's.

    See :func:`vitreous.particles.expression.fulfilled`.
    """
    return fulfilled(condition, table.joined.frame(), table.path)


def merit(table: ParticleTable) -> Float[np.ndarray, " n"]:
    """Which of two particles is better: posterior, figure of merit, or the first of them."""
    for name in _MERITS:
        if name in table.columns:
            return numbers(table.block, name, table.path)
    return np.zeros(len(table))


def evenly(count: int, most: int) -> Int[np.ndarray, " m"]:
    """Rows drawn evenly from ``count``, in order: all, or ``most`` of them if there are more."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))


def random_rows(count: int, wanted: int, seed: int) -> Int[np.ndarray, " m"]:
    """Some of ``count`` rows at random, in order.

    Raises
    ------
    OptionError
        If there are fewer, or none is wanted.
    """
    if not 0 < wanted <= count:
        raise OptionError(
            f"{wanted} particles are wanted, but {count} are there to choose from",
            where="--random",
            hint=f"give a number from 1 to {count}",
        )
    return np.sort(np.random.default_rng(seed).choice(count, wanted, replace=False))


def at_most(group: Int[np.ndarray, " n"], limit: int, seed: int) -> Int[np.ndarray, " m"]:
    """Rows with at most ``limit`` of each group, chosen at random, in order."""
    order = np.random.default_rng(seed).permutation(len(group))
    frame = pl.DataFrame({"row": order, "group": group[order]})
    kept = frame.filter(pl.int_range(pl.len()).over("group") < limit)["row"]
    return np.sort(kept.to_numpy())


def parts(count: int, number: int) -> list[Int[np.ndarray, " m"]]:
    """Rows of ``number`` successive parts that differ by one row at most.

    Raises
    ------
    OptionError
        For more parts than rows, or none.
    """
    if not 0 < number <= count:
        raise OptionError(
            f"{count} particles make no {number} parts",
            where="--split",
            hint=f"give a number from 1 to {count}",
        )
    return np.array_split(np.arange(count), number)
