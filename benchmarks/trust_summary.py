"""The rows of trust.py counted: how often jobs and starts are right, and what a verdict is worth.

    python benchmarks/trust_summary.py

Reads results/trust.csv and writes results/trust.md.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

RESULTS = Path(__file__).parent / "results"
WORDS = ("solved", "ambiguous", "failed", "stopped")
NUMBERS = ("fsc05_A", "needed_A", "label_accuracy", "labels_as_seed_0", "noise_found")
NO_MAP = ("pol2-inverted", "noise")
"""Cases that have no right map."""


def spread(values: pl.Series, digits: int) -> str:
    """Least, median and greatest of the numbers that there are."""
    known = values.drop_nulls().drop_nans()
    if known.is_empty():
        return ""
    least, middle, most = known.min(), known.median(), known.max()
    return f"{least:.{digits}f} / {middle:.{digits}f} / {most:.{digits}f}"


def case_row(name: str, rows: pl.DataFrame) -> str:
    """One line of the table of cases."""
    solvable = name not in NO_MAP
    words = ", ".join(
        f"{count} {word}" for word in WORDS if (count := (rows["verdict"] == word).sum())
    )
    starts, good = rows["starts"].sum(), rows["starts_right"].sum()
    solved = rows.filter(pl.col("verdict") == "solved")
    several = rows["label_accuracy"].is_not_nan().any()
    cells = (
        name,
        len(rows),
        words,
        f"{rows['right'].sum()} of {len(rows)}" if solvable else "",
        f"{good} of {starts}" if solvable else "",
        spread(rows["fsc05_A"], 1) if solvable else "",
        f"{rows['needed_A'].median():.1f}" if solvable else "",
        spread(rows["label_accuracy"], 3),
        spread(solved["labels_as_seed_0"], 3) if several else "",
        spread(rows["noise_found"], 3),
    )
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def calibration(rows: pl.DataFrame) -> list[str]:
    """Lines of the table of verdicts against truth."""
    lines = ["| verdict | map right | map wrong, or none to be had |", "|---|---|---|"]
    for word in WORDS:
        right = rows.filter(pl.col("verdict") == word)["right"]
        lines.append(f"| {word} | {right.sum()} | {len(right) - right.sum()} |")
    return lines


def read_rows() -> pl.DataFrame:
    """All jobs, numbers as numbers."""
    table = pl.read_csv(RESULTS / "trust.csv", infer_schema_length=None)
    numbers = [pl.col(name).cast(pl.Float64, strict=False) for name in NUMBERS]
    return table.with_columns(*numbers, pl.col("right").cast(pl.String) == "true")


def main() -> None:
    rows = read_rows()
    names = [
        "case",
        "seeds",
        "verdicts",
        "map right",
        "single starts right",
        "FSC 0.5 (A)",
        "needed (A)",
        "labels right",
        "labels as seed 0's (solved)",
        "noise found",
    ]
    lines = ["# Whether to believe it", "", "Of three numbers: least / median / greatest.", ""]
    lines += ["| " + " | ".join(names) + " |", "|---" * len(names) + "|"]
    for name, part in rows.group_by("case", maintain_order=True):
        lines.append(case_row(str(name[0]), part))
    lines += ["", "## Verdict against truth", "", *calibration(rows)]
    (RESULTS / "trust.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
