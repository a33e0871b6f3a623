"""What a million particles will take on ranks that have 80 GB each, by ``vitreous plan``.

    python benchmarks/large_plans.py --model MODEL --work FOLDER [--jobs refine ...]

The table holds the images of a small simulated stack again and again, as a plan asks for their
number and box and looks at some of them only.  Free memory is taken to be 80 GB whatever this
machine has; times are those of ranks with this machine's cores each, on machines of their own.
``efficiency`` is the time on one rank over that on all, and over their number.  Rows go into
benchmarks/results/large_plans.csv.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import polars as pl
from machine import version
from rows import write_rows

from vitreous.config.abinit import AbinitConfig
from vitreous.config.classify import Classify3dConfig
from vitreous.config.refine import RefineConfig
from vitreous.config.simulate import SimulateConfig
from vitreous.io.star import read_star, write_star
from vitreous.jobs.plan.plan import Planned, counter_of
from vitreous.jobs.plan.speeds import speeds_on
from vitreous.jobs.simulate import run_simulate

RESULTS = Path(__file__).parent / "results" / "large_plans.csv"
FIELDS = (
    *("job", "particles", "box", "ranks", "engine_GB", "images_GB", "images_held_GB", "hours"),
    *("efficiency", "version"),
)
PARTICLES, SIMULATED, FREE = 1_000_000, 100, 80e9
BOXES = {256: 1.2, 512: 0.6}
RANKS = (1, 2, 4, 8)


def million(model: Path, folder: Path, box: int) -> Path:
    """A table of a million rows, and the map that its images were simulated from."""
    data = folder / f"data{box}"
    star = data / "million.star"
    if not star.exists():
        config = SimulateConfig(model, out=data, n=SIMULATED, box=box, pixel_size=BOXES[box])
        blocks = read_star(run_simulate(config))
        few = blocks["particles"]
        many = few.with_frame(pl.concat([few.frame] * (PARTICLES // SIMULATED)))
        write_star(star, (blocks | {"particles": many}).values())
    return star


def jobs(star: Path) -> dict[str, Planned]:
    """The jobs with their usual options."""
    reference, out = star.with_name("truth.mrc"), Path("none")
    return {
        "abinit": AbinitConfig(star, out=out, check=False),
        "classify3d": Classify3dConfig(
            star, reference=(reference,), classes=4, out=out, check=False
        ),
        "refine": RefineConfig(star, reference=reference, out=out, check=False),
    }


def planned(name: str, config: Planned, box: int) -> list[dict[str, Any]]:
    """A row for each number of ranks."""
    rows: list[dict[str, Any]] = []
    for ranks in RANKS:
        _, count = counter_of(config)
        counted = count(replace(config, ranks=ranks))
        speeds = speeds_on(counted.device)
        hours = sum(work.seconds(speeds) for work in counted.stages.values()) / 3600
        memory = counted.memory
        alone = rows[0]["hours"] if rows else hours
        rows.append(
            {
                **{"job": name, "particles": counted.particles, "box": box, "ranks": ranks},
                "engine_GB": memory.least / 1e9,
                "images_GB": sum(memory.images.values()) / 1e9,
                "images_held_GB": sum(memory.held.values()) / 1e9,
                "hours": hours,
                "efficiency": alone / hours / ranks,
                "version": version(),
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--work", type=lambda text: Path(text).resolve(), required=True)
    parser.add_argument("--jobs", nargs="+", default=["abinit", "classify3d", "refine"])
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with patch("vitreous.engine.memory.free_memory", lambda _: FREE * max(RANKS)):
        for box in BOXES:
            configs = jobs(million(arguments.model, arguments.work, box))
            for name in arguments.jobs:
                rows += planned(name, replace(configs[name], memory=FREE / 1e9), box)
                write_rows(RESULTS, FIELDS, rows)


if __name__ == "__main__":
    main()
