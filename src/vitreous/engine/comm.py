"""Ranks: processes that go through one job together and share its particles out among them.

A process that torch.distributed knows nothing of is a rank by itself.  All ranks call the functions
here in the same order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from vitreous.errors import InputError
from vitreous.runs.ranks import together

T = TypeVar("T")


@dataclass(frozen=True)
class Ranks:
    """This process's number among the ranks, and how many there are."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the rank that writes and speaks."""
        return self.rank == 0

    def owner(self, part: int, parts: int) -> int:
        """Rank that one of so many parts belongs to: each has parts in a row."""
        return part * self.size // parts

    def own(self, parts: int) -> list[int]:
        """Parts of this rank."""
        return [part for part in range(parts) if self.owner(part, parts) == self.rank]


def ranks() -> Ranks:
    """The ranks of this job."""
    if not (dist.is_available() and dist.is_initialized()):
        return Ranks()
    return Ranks(dist.get_rank(), dist.get_world_size())


def sent(values: Tensor, owner: int) -> Tensor:
    """A tensor of one rank on all of them; the others give one of the same shape, and lose it."""
    if ranks().size > 1:
        plain = torch.view_as_real(values) if values.is_complex() else values
        with together():
            dist.broadcast(plain.view(torch.uint8) if plain.dtype == torch.bool else plain, owner)
    return values


def exchanged(things: Sequence[T]) -> list[T]:
    """Each thing as its owner has it, on all ranks; tensors in it lie on the host."""
    here, out = ranks(), list(things)
    if here.size == 1:
        return out
    for owner in range(here.size):
        numbers = Ranks(owner, here.size).own(len(out))
        if not numbers:
            continue
        held = [out[number] for number in numbers]
        with together():
            dist.broadcast_object_list(held, owner)
        for number, thing in zip(numbers, held, strict=True):
            out[number] = thing
    return out


class Movable(Protocol):
    """Something whose tensors may lie on any device."""

    def to(self, device: torch.device) -> Self:
        """The same on another device."""


AnyMovable = TypeVar("AnyMovable", bound=Movable)


def of_all_ranks(
    own: Mapping[int, AnyMovable], count: int, device: torch.device
) -> list[AnyMovable]:
    """So many things on every rank, of which each has made its own, by their numbers."""
    if ranks().size == 1:
        return [own[number] for number in range(count)]
    host = torch.device("cpu")
    made = {number: thing.to(host) for number, thing in own.items()}
    every = exchanged([made.get(number) for number in range(count)])
    return [thing.to(device) for thing in every if thing is not None]


def require_same_input(digest: str, where: Path) -> None:
    """Require all ranks to have read the same.

    Parameters
    ----------
    digest : str
        Of all that this rank has read.
    where : Path
        The particles, for the message.

    Raises
    ------
    InputError
        On the ranks that read something else than the first.
    """
    (first,) = exchanged([digest])
    if digest != first:
        raise InputError(
            f"rank {ranks().rank} reads other particles, images or maps than rank 0",
            where=where,
            hint="let all ranks see the same files, on a file system that the machines share",
        )
