"""Two tables of RELION in one: optics groups that are the same become one group."""

from __future__ import annotations

import polars as pl

from vitreous.io.star import StarBlock
from vitreous.particles.relion.columns import RelionColumns
from vitreous.particles.relion.names import OPTICS
from vitreous.particles.relion.optics import NEUTRAL

(_NUMBER,), (_NAME,) = OPTICS["number"], OPTICS["name"]


def _free_name(name: str, taken: set[str]) -> str:
    """The name, or else one with the least number behind it that is free."""
    free, number = name, 2
    while free in taken:
        free, number = f"{name}_{number}", number + 1
    return free


def _merged_optics(
    first: pl.DataFrame, second: pl.DataFrame
) -> tuple[pl.DataFrame, dict[str, str]]:
    """Both tables' optics groups, and the new numbers of those of the second."""
    both = pl.concat([first, second], how="diagonal")
    filled = both.with_columns(
        pl.col(name).fill_null(NEUTRAL.get(name, "0.0")) for name in both.columns
    )
    rows: list[dict[str, str]] = filled.rows(named=True)
    kept, others = rows[: len(first)], rows[len(first) :]
    numbers: dict[str, str] = {}

    def content(row: dict[str, str]) -> dict[str, str]:
        return {name: cell for name, cell in row.items() if name != _NUMBER}

    for row in others:
        same = next((one for one in kept if content(one) == content(row)), None)
        if same is None:
            number = str(1 + max((int(float(one[_NUMBER])) for one in kept), default=0))
            name = _free_name(row.get(_NAME, ""), {one.get(_NAME, "") for one in kept})
            same = row | {_NUMBER: number} | ({_NAME: name} if _NAME in row else {})
            kept.append(same)
        numbers[row[_NUMBER]] = same[_NUMBER]
    return pl.DataFrame(kept), numbers


def merged_blocks(
    first: RelionColumns, second: RelionColumns
) -> tuple[dict[str, StarBlock], list[str]]:
    """Blocks with the particles of both, and the columns that only one has: left out."""
    mine, theirs = first.particles.frame, second.particles.frame
    blocks = {}
    if first.optics is not None and second.optics is not None:
        optics, numbers = _merged_optics(first.optics.frame, second.optics.frame)
        blocks[first.optics.name] = first.optics.with_frame(optics)
        theirs = theirs.with_columns(pl.col(_NUMBER).replace(numbers))
    shared = [name for name in mine.columns if name in theirs.columns]
    both = pl.concat([mine.select(shared), theirs.select(shared)])
    blocks |= {block.name: block for block in first.others}
    blocks[first.particles.name] = first.particles.with_frame(both)
    left_out = [name for name in (*mine.columns, *theirs.columns) if name not in shared]
    return blocks, left_out
