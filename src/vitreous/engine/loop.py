"""The one loop of every search: parts of the particles, one after the other.

Mini-batches of an ab initio search, folds of a classification and halves of a refinement are parts
of the particles.  Each is compared with maps (expectation), and what was found makes the next maps
(maximisation).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from jaxtyping import Int
from torch import Tensor

State = TypeVar("State")
Found = TypeVar("Found")


@dataclass(frozen=True)
class Iteration(Generic[State, Found]):
    """What is done with one part of the particles.

    Attributes
    ----------
    expectation : callable
        What the state's maps tell of a part: from the state, the part's number and its particles.
    maximisation : callable
        The state that follows from what was found: from the same, and what was found.
    references : callable, optional
        The state with the maps that a part is compared with, from the state and the part's number;
        by default the state as it is.
    """

    expectation: Callable[[State, int, Int[Tensor, " b"]], Found]
    maximisation: Callable[[State, int, Int[Tensor, " b"], Found], State]
    references: Callable[[State, int], State] | None = None


def _iterated(
    state: State, number: int, index: Int[Tensor, " b"], iteration: Iteration[State, Found]
) -> tuple[State, Found]:
    """The state after one part, and what was found."""
    if iteration.references is not None:
        state = iteration.references(state, number)
    found = iteration.expectation(state, number, index)
    return iteration.maximisation(state, number, index, found), found


def run(
    state: State, parts: Iterable[Int[Tensor, " b"]], iteration: Iteration[State, Found]
) -> Iterator[tuple[State, Found]]:
    """Go through the parts once.

    Yields
    ------
    After each part, the state and what was found.
    """
    for number, index in enumerate(parts):
        state, found = _iterated(state, number, index, iteration)
        yield state, found


def run_through(
    state: State, parts: Iterable[Int[Tensor, " b"]], iteration: Iteration[State, Found]
) -> State:
    """The state after the last part.  What a part found is let go before the next is searched."""
    for number, index in enumerate(parts):
        state = _iterated(state, number, index, iteration)[0]
    return state
