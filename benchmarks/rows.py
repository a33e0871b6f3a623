"""Tables of results: a row takes the place of an earlier one of the same name."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path


def keep(
    path: Path,
    fields: Sequence[str],
    row: Mapping[str, object],
    name: Mapping[str, Sequence[str] | None],
) -> None:
    """Put a row into a CSV, in the place of one that is alike in the columns of ``name``.

    Rows are sorted by these: in the order given for the column or, without one, by number.
    """
    rows: list[Mapping[str, object]] = []
    if path.is_file():
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))

    def place(one: Mapping[str, object]) -> list[int]:
        words = {column: str(one[column]) for column in name}
        return [
            int(words[c]) if order is None else order.index(words[c]) for c, order in name.items()
        ]

    rows = sorted([*(other for other in rows if place(other) != place(row)), row], key=place)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fields)
        writer.writeheader()
        writer.writerows(rows)
