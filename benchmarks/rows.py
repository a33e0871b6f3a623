"""Tables of results: a row takes the place of an earlier one of the same name."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path


def keep(
    path: Path,
    fields: Sequence[str],
    row: Mapping[str, object],
    name: Sequence[str],
    order: Sequence[str],
) -> None:
    """Put a row into a CSV, in the place of one that is alike in the columns ``name``.

    The first of these goes by ``order``, the others by number or alphabet.
    """
    rows: list[Mapping[str, object]] = []
    if path.is_file():
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))

    def key(one: Mapping[str, object]) -> list[str]:
        return [str(one[column]) for column in name]

    def place(one: Mapping[str, object]) -> tuple[int, list[str]]:
        first, *rest = key(one)
        return order.index(first), [part.zfill(4) for part in rest]

    rows = sorted([*(other for other in rows if key(other) != key(row)), row], key=place)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fields)
        writer.writeheader()
        writer.writerows(rows)
