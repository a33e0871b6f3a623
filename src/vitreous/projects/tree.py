"""Which job came from which, laid out from left to right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vitreous.projects.index import JobRow

_ACROSS, _DOWN = 240, 150
"""Distance between neighbours in the picture."""

WIDTH, HEIGHT = 200, 126
"""Size of a job in the picture."""


@dataclass(frozen=True)
class Placed:
    """A job and where its box lies."""

    row: JobRow
    x: int
    y: int


@dataclass(frozen=True)
class Tree:
    """Jobs and the lines between them.

    Attributes
    ----------
    jobs : list of Placed
    lines : list of str
        SVG paths from parents to children.
    width, height : int
    """

    jobs: list[Placed]
    lines: list[str]
    width: int
    height: int


def depths(rows: Sequence[JobRow]) -> dict[str, int]:
    """Longest way from a job without parents; jobs that name each other are no deeper for it."""
    by_folder = {row.folder: row for row in rows}
    found: dict[str, int] = {}

    def depth(folder: str, above: frozenset[str]) -> int:
        if folder not in found:
            parents = [p for p in by_folder[folder].parents if p in by_folder and p not in above]
            inner = above | {folder}
            found[folder] = 1 + max((depth(parent, inner) for parent in parents), default=-1)
        return found[folder]

    for row in rows:
        depth(row.folder, frozenset({row.folder}))
    return found


def tree_of(rows: Sequence[JobRow]) -> Tree:
    """Place jobs in columns by depth; each as near to its first parent's height as is free."""
    depth, taken, placed = depths(rows), set[tuple[int, int]](), dict[str, Placed]()
    for row in sorted(rows, key=lambda row: (depth[row.folder], row.number)):
        column = depth[row.folder]
        known = [placed[parent].y // _DOWN for parent in row.parents if parent in placed]
        line = known[0] if known else 0
        while (column, line) in taken:
            line += 1
        taken.add((column, line))
        placed[row.folder] = Placed(row, column * _ACROSS, line * _DOWN)
    lines = [
        _line(placed[parent], child)
        for child in placed.values()
        for parent in child.row.parents
        if parent in placed
    ]
    width = max((one.x for one in placed.values()), default=0) + WIDTH
    height = max((one.y for one in placed.values()), default=0) + HEIGHT
    return Tree(list(placed.values()), lines, width, height)


def _line(parent: Placed, child: Placed) -> str:
    x1, y1 = parent.x + WIDTH, parent.y + HEIGHT // 2
    x2, y2 = child.x, child.y + HEIGHT // 2
    bend = max(20, abs(x2 - x1) // 2)
    return f"M{x1} {y1}C{x1 + bend} {y1} {x2 - bend} {y2} {x2} {y2}"
