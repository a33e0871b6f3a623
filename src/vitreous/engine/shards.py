"""Logical shards: parts of the particles whose sums are added in one order, whatever the ranks.

Their number depends on the particles alone.  Sums of shards are added in pairs, pairs of pairs and
so on, so that ranks which have some shards each add the same numbers in the same order as one that
has them all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Generic, Protocol, Self, TypeVar

import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from vitreous.engine.comm import Ranks, ranks, sent

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_FEW, _FEWEST, _FEWEST_OF_MANY = 8, 2048, 32_768
"""Shards up to which each has as many particles as the next number at the least, and as the last
one beyond: with each doubling of their number a rank may hold one sum more."""


@dataclass(frozen=True)
class Batch:
    """Some particles of one shard and one optics group.

    Attributes
    ----------
    shard, group : int
    member : integer tensor (m,)
        Their places among the rows that were given.
    """

    shard: int
    group: int
    member: Int[Tensor, " m"]


@dataclass(frozen=True)
class Shards:
    """Parts of the rows of a particle table.

    Attributes
    ----------
    particles : int
    count : int
        A power of two.
    spread : bool
        Each rank has some of them; otherwise this one has all, and others take no part.
    planned : int
        Ranks that a job will have which is planned, and not run, by one.
    """

    particles: int
    count: int = 1
    spread: bool = False
    planned: int = 1

    @classmethod
    def of(cls, particles: int, planned: int = 1) -> Shards:
        """As many as are each worth a rank, spread over the ranks."""
        count = 1
        while particles >= 2 * count * (_FEWEST if count < _FEW else _FEWEST_OF_MANY):
            count *= 2
        return cls(particles, count, True, planned)

    @property
    def here(self) -> Ranks:
        """The ranks that have the shards."""
        if not self.spread:
            return Ranks()
        here = ranks()
        return Ranks(0, self.planned) if here.size == 1 else here

    @property
    def own(self) -> list[int]:
        """This rank's."""
        return self.here.own(self.count)

    @property
    def sums_at_once(self) -> int:
        """Sums that are held at a time: those of whole pairs wait for the other of theirs."""
        return len(self.own).bit_length() + (self.here.size > 1)

    @property
    def own_rows(self) -> range:
        """Rows of this rank's shards, which follow each other."""
        return self.rows_of(self.here.rank)

    def rows_of(self, rank: int) -> range:
        """Rows of a rank's shards."""
        own = Ranks(rank, self.here.size).own(self.count)
        if not own:
            return range(0)
        first, end = (-(-n * self.particles // self.count) for n in (own[0], own[-1] + 1))
        return range(first, end)

    def number(self, rows: Int[Tensor, " b"]) -> Int[Tensor, " b"]:
        """Shard of each of some rows."""
        return rows * self.count // max(self.particles, 1)

    def members(self, rows: Int[Tensor, " b"]) -> Iterator[tuple[int, Int[Tensor, " m"]]]:
        """Each shard of this rank, and the places of its rows among these."""
        number = self.number(rows)
        for one in self.own:
            yield one, torch.nonzero(number == one)[:, 0]

    def batches(self, rows: Int[Tensor, " b"], groups: Int[Tensor, " b"], most: int) -> list[Batch]:
        """Batches of at most so many of this rank's rows, whose optics groups are given."""
        return [
            Batch(shard, group, member)
            for shard, some in self.members(rows)
            for group in groups[some].unique().tolist()
            for member in some[groups[some] == group].split(most)
        ]

    def nodes(self) -> list[tuple[int, int]]:
        """Level and number of the largest nodes of the tree of sums that have one owner each."""
        return self._nodes_within(self.count.bit_length() - 1, 0)

    def _nodes_within(self, level: int, number: int) -> list[tuple[int, int]]:
        first, last = number << level, ((number + 1) << level) - 1
        if self.owner(first) == self.owner(last):
            return [(level, number)]
        both = (self._nodes_within(level - 1, 2 * number + side) for side in (0, 1))
        return [node for nodes in both for node in nodes]

    def owner(self, shard: int) -> int:
        """Rank that has a shard."""
        return self.here.owner(shard, self.count)


class Summable(Protocol):
    """Sums of a shard."""

    def add(self, other: Self) -> None:
        """Add another's to these, in place."""

    def tensors(self) -> list[Tensor]:
        """All that is added, to be filled by another rank's."""


AnySums = TypeVar("AnySums", bound=Summable)


class ShardSums(Generic[AnySums]):
    """Sums of shards, each filled in turn, and added in one order.

    Parameters
    ----------
    shards : Shards
    empty : callable
        Makes sums of nothing.
    """

    def __init__(self, shards: Shards, empty: Callable[[], AnySums]):
        self._shards, self._empty = shards, empty
        self._filling: AnySums | None = None
        self._left = shards.own
        self._waiting: dict[tuple[int, int], AnySums] = {}

    def of(self, shard: int) -> AnySums:
        """The sums of a shard of this rank, to be added to; those before it are complete."""
        while self._left[0] != shard:
            self._complete()
        if self._filling is None:
            self._filling = self._empty()
        return self._filling

    def _complete(self) -> None:
        sums, self._filling = self._filling, None
        self._put(0, self._left.pop(0), self._empty() if sums is None else sums)

    def _put(self, level: int, number: int, sums: AnySums) -> None:
        """Keep the sums of a node of the tree, or add them to the other of its pair."""
        while (other := self._waiting.pop((level, number ^ 1), None)) is not None:
            left, right = (other, sums) if number % 2 else (sums, other)
            left.add(right)
            level, number, sums = level + 1, number // 2, left
        self._waiting[level, number] = sums

    def total(self) -> AnySums:
        """The sums of all shards of all ranks, on every rank."""
        while self._left:
            self._complete()
        own, self._waiting = self._waiting, {}
        for level, number in self._shards.nodes():
            sums = own.get((level, number))
            sums = self._empty() if sums is None else sums
            if self._shards.spread:
                for part in sums.tensors():
                    sent(part, self._shards.owner(number << level))
            self._put(level, number, sums)
        ((_, whole),) = self._waiting.items()
        return whole


AnyRows = TypeVar("AnyRows", bound="DataclassInstance")


def placed(
    shards: Shards,
    rows: Int[Tensor, " b"],
    found: Iterable[tuple[Int[Tensor, " m"], AnyRows]],
    blank: AnyRows,
) -> AnyRows:
    """What was found of some places of these rows put there, and what other ranks found.

    Parameters
    ----------
    found : iterable of (integer tensor, dataclass of tensors)
    blank : dataclass of tensors (particles, ...)
        Filled in place.
    """
    for member, part in found:
        for field in fields(blank):
            held = getattr(blank, field.name)
            held[member.to(held.device)] = getattr(part, field.name).to(held)
    gather(shards, rows, [getattr(blank, field.name) for field in fields(blank)])
    return blank


def gather_all(shards: Shards, values: Tensor) -> None:
    """Fill rows of all particles on all ranks, in place; each rank has filled its own."""
    if shards.here.size > 1:
        for rank in range(shards.here.size):
            rows = shards.rows_of(rank)
            sent(values[rows.start : rows.stop], rank)


def gather(
    shards: Shards, rows: Int[Tensor, " b"], values: Sequence[Shaped[Tensor, "b ..."]]
) -> None:
    """Fill rows that each rank has filled for its own shards on all ranks, in place."""
    here = shards.here
    if here.size == 1:
        return
    owner = shards.number(rows) * here.size // shards.count
    for rank in range(here.size):
        member = torch.nonzero(owner == rank)[:, 0]
        for held in values:
            where = member.to(held.device)
            held[where] = sent(held[where].contiguous(), rank)
