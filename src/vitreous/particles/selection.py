"""Which particles to keep: by class, posterior, conditions on columns, or at random."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import polars as pl
from jaxtyping import Bool, Float, Int

from vitreous.errors import InputError, OptionError
from vitreous.particles.expression import fulfilled
from vitreous.particles.fields import Field, Texts
from vitreous.particles.particle_set import ParticleSet

_MERITS = (ParticleSet.posterior, ParticleSet.picking_merit)
"""Fields that tell which of two particles is the better one, the first there counts."""


def codes(table: ParticleSet, field: Field[Texts]) -> Int[np.ndarray, " n"]:
    """Number, from 0, of each particle's text in a field: its micrograph, or its filament."""
    texts = table.required(field, "give particles with it")
    return texts.rank("dense").to_numpy().astype(np.int64) - 1


def class_numbers(table: ParticleSet) -> Int[np.ndarray, " n"]:
    """Class of each particle.

    Raises
    ------
    InputError
        Without classes.
    """
    return table.required(ParticleSet.class_number, "give the particles of a classification")


def random_subsets(table: ParticleSet, hint: str) -> Int[np.ndarray, " n"]:
    """Half, 1 or 2, that each particle is in.

    Parameters
    ----------
    table : ParticleSet
    hint : str
        What to do without halves.

    Raises
    ------
    InputError
        Without halves, and for other numbers, naming the first row.
    """
    subset = table.required(ParticleSet.half, hint)
    odd = ~np.isin(subset, (1, 2))
    if odd.any():
        row = int(odd.argmax())
        raise InputError(
            f"{table.row_name(row)} has {subset[row]} in the column "
            f"{table.called(ParticleSet.half)}, expected 1 or 2",
            where=table.path,
            hint=f"mend that cell, or {hint}",
        )
    return subset


def in_classes(table: ParticleSet, wanted: Collection[int]) -> Bool[np.ndarray, " n"]:
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


def pose_posterior(table: ParticleSet) -> Float[np.ndarray, " n"]:
    """Posterior of each particle's best pose."""
    hint = "give the particles of a refinement or classification"
    return table.required(ParticleSet.posterior, hint)


MOST_JUNK = 0.5
"""Probability of junk from which an image in a good class is left out, if nothing is said."""


def junk_posterior(table: ParticleSet) -> Float[np.ndarray, " n"]:
    """Probability of each particle to be junk."""
    return table.required(
        ParticleSet.junk_posterior, "give the particles of vitreous class2d, or of vitreous abinit"
    )


def class_posterior(table: ParticleSet) -> Float[np.ndarray, " n"]:
    """Posterior of the class that each particle is in, as ``vitreous abinit`` writes it.

    2D classification writes it as such; else it is taken from those of all classes: noise is the
    class after the last of those with a map, and other junk the one after that.

    Raises
    ------
    InputError
        Without these posteriors, as where a search had one class only.
    """
    hint = "give particles that vitreous sorted into several classes"
    own = table.of_field(ParticleSet.class_posterior)
    if own is not None:
        return own
    classes = class_numbers(table)
    posterior = np.empty(len(table))
    by_map = table.class_posteriors
    maps = 1 if by_map is None else by_map.shape[1]
    for number in np.unique(classes):
        if number < 1:
            raise InputError(
                f"a particle is in class {number}, expected 1 or more",
                where=table.path,
                hint="mend the class numbers",
            )
        member = classes == number
        if number > maps:
            junk = ParticleSet.noise_posterior if number == maps + 1 else ParticleSet.junk_posterior
            posterior[member] = table.required(junk, hint)[member]
        else:
            of_map = table.required(ParticleSet.class_posteriors, hint)
            posterior[member] = of_map[member, number - 1]
    return posterior


def where(table: ParticleSet, condition: str) -> Bool[np.ndarray, " n"]:
    """Which particles fulfil a condition on their columns or their optics group's.

    See :func:`vitreous.particles.expression.fulfilled`.
    """
    return fulfilled(condition, table.written.joined(), table.path)


def merit(table: ParticleSet) -> Float[np.ndarray, " n"]:
    """Which of two particles is better: posterior, figure of merit, or the first of them."""
    found = (values for field in _MERITS if (values := table.of_field(field)) is not None)
    return next(found, np.zeros(len(table)))


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
            f"{wanted} are wanted, but {count} are there to choose from",
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
