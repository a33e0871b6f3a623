"""Tables of results: rows take the place of earlier ones of the same name."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path


def write_rows(path: Path, fields: Sequence[str], rows: Iterable[Mapping[str, object]]) -> None:
    """Write a CSV; numbers to four figures."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fields)
        writer.writeheader()
        for row in rows:
            writer.writerow({k: f"{v:.4g}" if isinstance(v, float) else v for k, v in row.items()})


def _written(path: Path) -> list[Mapping[str, object]]:
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def keep(
    path: Path,
    fields: Sequence[str],
    row: Mapping[str, object],
    name: Mapping[str, Sequence[str] | None],
) -> None:
    """Put a row into a CSV, in the place of one that is alike in the columns of ``name``.

    Rows are sorted by these: in the order given for the column or, without one, by number.
    """

    def place(one: Mapping[str, object]) -> list[int]:
        words = {column: str(one[column]) for column in name}
        return [
            int(words[c]) if order is None else order.index(words[c]) for c, order in name.items()
        ]

    others = [other for other in _written(path) if place(other) != place(row)]
    write_rows(path, fields, sorted([*others, row], key=place))


def replace_rows(
    path: Path,
    fields: Sequence[str],
    rows: Sequence[Mapping[str, object]],
    name: Mapping[str, object],
) -> None:
    """Put rows into a CSV, in the place of those that have all the values of ``name``."""
    others = [
        row for row in _written(path) if any(row[c] != str(value) for c, value in name.items())
    ]
    write_rows(path, fields, [*others, *({**name, **row} for row in rows)])
