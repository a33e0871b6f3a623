"""A million particles from STAR to .cs and back, with their side table and without.

    python benchmarks/cs_million.py --work FOLDER [--rows 1000000] [--repeats 3]

Each conversion runs in a process of its own. Medians of the seconds of the processor (user and
system), the seconds on the clock and the greatest memory go to benchmarks/results/cs_million.csv.
"""

from __future__ import annotations

import argparse
import csv
import statistics
from pathlib import Path

import numpy as np
import polars as pl
from machine import measured, vitreous

from vitreous.io.star import StarBlock, read_star, write_star

RESULTS = Path(__file__).parent / "results" / "cs_million.csv"


def write_table(path: Path, rows: int) -> None:
    """Particles of 25 columns, as a RELION refinement leaves them."""
    rng = np.random.default_rng(1)
    row = np.arange(rows)
    reals = {
        **dict.fromkeys(("rlnAngleRot", "rlnAnglePsi"), (-180, 180)),
        "rlnAngleTilt": (0, 180),
        **dict.fromkeys(("rlnOriginXAngst", "rlnOriginYAngst"), (-20, 20)),
        **dict.fromkeys(("rlnDefocusU", "rlnDefocusV"), (8000, 25000)),
        "rlnDefocusAngle": (0, 180),
        **dict.fromkeys(("rlnCoordinateX", "rlnCoordinateY"), (0, 4000)),
        **dict.fromkeys(("rlnAutopickFigureOfMerit", "rlnCtfFigureOfMerit"), (0, 1)),
        **dict.fromkeys(("rlnMaxValueProbDistribution", "rlnNormCorrection"), (0, 1)),
        "rlnCtfMaxResolution": (3, 9),
        "rlnLogLikeliContribution": (1e4, 1e5),
        "rlnNrOfSignificantSamples": (1, 100),
    }
    columns = {
        name: pl.Series(rng.uniform(*limits, rows)).round(6).cast(pl.String)
        for name, limits in reals.items()
    }
    names = pl.Series(row // 100).cast(pl.String)
    columns |= {
        "rlnImageName": pl.Series(row % 100 + 1).cast(pl.String).str.zfill(6)
        + "@Extract/m"
        + names
        + ".mrcs",
        "rlnMicrographName": "MotionCorr/job002/m" + names + ".mrc",
        "rlnOpticsGroup": pl.Series(["1"] * rows),
        "rlnRandomSubset": pl.Series(row % 2 + 1).cast(pl.String),
        "rlnClassNumber": pl.Series(["1"] * rows),
        "rlnGroupNumber": pl.Series(row // 100 + 1).cast(pl.String),
        "rlnGroupName": "group_" + names,
        "rlnPhaseShift": pl.Series(["0.000000"] * rows),
    }
    optics = {
        "rlnOpticsGroup": "1", "rlnOpticsGroupName": "a", "rlnImagePixelSize": "1.06",
        "rlnImageSize": "256", "rlnVoltage": "300", "rlnSphericalAberration": "2.7",
        "rlnAmplitudeContrast": "0.1",
    }  # fmt: skip
    write_star(
        path,
        [
            StarBlock("optics", pl.DataFrame([optics])),
            StarBlock("particles", pl.DataFrame(columns)),
        ],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    work = options.work
    work.mkdir(parents=True, exist_ok=True)
    star, there, back = work / "million.star", work / "there.cs", work / "back.star"
    write_table(star, options.rows)
    to_cs = [str(star), "--out", str(there), "--overwrite"]
    to_star = [str(there), "--out", str(back), "--overwrite"]
    conversions = {
        "STAR to .cs, without side table": [*to_cs, "--no-side"],
        ".cs to STAR, without side table": [*to_star, "--no-side"],
        "STAR to .cs, with side table": to_cs,
        ".cs to STAR, with side table": to_star,
    }
    runs = [
        {
            what: measured(vitreous("convert", *words), work / "convert.log")
            for what, words in conversions.items()
        }
        for _ in range(options.repeats)
    ]
    rows = [
        {"what": what}
        | {name: round(statistics.median(run[what][name] for run in runs), 2) for name in figures}
        for what, figures in runs[0].items()
    ]
    same = all(
        block.frame.equals(read_star(back)[key].frame) for key, block in read_star(star).items()
    )
    print(f"every cell comes back: {same}")
    for row in rows:
        print(row)
    with RESULTS.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["rows", *rows[0]])
        writer.writeheader()
        writer.writerows({"rows": options.rows, **row} for row in rows)


if __name__ == "__main__":
    main()
