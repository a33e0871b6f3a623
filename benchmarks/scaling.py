"""How the time of a job grows with particles, box, classes and resolution.

    python benchmarks/scaling.py --model MODEL.pdb --work FOLDER [--repeats 1]

Simulates RNA polymerase II, or whatever the model is, and runs ``vitreous abinit --starts 1`` on
it, changing one thing at a time.  Writes every run to benchmarks/results/scaling.csv, with the
exponent of a power law fitted to each series, and the plot beside it.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import numpy as np
from machine import gemm_rate, measured, vitreous
from rows import write_rows

from vitreous.config.simulate import SimulateConfig
from vitreous.jobs.simulate import run_simulate

PARTICLES, BOX, FIELD, RESOLUTION = 3000, 64, 256.0, 15.0
SERIES: dict[str, list[float]] = {
    "particles": [1000, 3000, 10000],
    "box": [64, 96, 128],
    "classes": [1, 2, 4, 8],
    "frequency": [1 / 30, 1 / 20, 1 / 15, 1 / 12],
}
RESULTS = Path(__file__).parent / "results"


def stack(model: Path, work: Path, particles: int, box: int) -> Path:
    """Particles of one field of view on as many pixels as asked for, simulated once."""
    folder = work / f"stack_{particles}_{box}"
    if not (folder / "particles.star").is_file():
        config = SimulateConfig(
            model, out=folder, n=particles, box=box, pixel_size=FIELD / box, overwrite=True
        )
        run_simulate(config)
    return folder / "particles.star"


def run(particles: Path, out: Path, classes: int, resolution: float, diameter: float) -> dict:
    """One job: wall seconds of the process and of its parts."""
    shutil.rmtree(out, ignore_errors=True)
    options = ("--starts", 1, "--classes", classes, "--final-resolution", resolution)
    command = vitreous("abinit", particles, "--out", out, *options, "--mask-diameter", diameter)
    wall = measured(command, out.with_suffix(".log"))["wall_s"]
    timings = json.loads((out / "result.json").read_text())["timings"]
    return {"wall_s": wall, **timings}


def exponent(x: list[float], y: list[float]) -> float:
    """Power of x that y grows with."""
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def plot(rows: list[dict], target: Path) -> None:
    """One panel a series: time against what was changed, with the fitted exponent."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, len(SERIES), figsize=(14, 3.4), layout="constrained")
    for panel, series in zip(panels, SERIES, strict=True):
        members = [row for row in rows if row["series"] == series]
        x = [row["value"] for row in members]
        for part, label in (("total_s", "job"), ("iterations_s", "iterations")):
            y = [row[part] for row in members]
            power = exponent(x, y)
            panel.loglog(x, y, "o-", label=f"{label}: power {power:.2f}")
        panel.set_xlabel({"frequency": "final resolution, 1/A"}.get(series, series))
        panel.legend()
    panels[0].set_ylabel("seconds")
    figure.savefig(target)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--diameter", type=float, default=200.0)
    parser.add_argument("--repeats", type=int, default=1)
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    rows = []
    for series, values in SERIES.items():
        for value in values:
            particles = int(value) if series == "particles" else PARTICLES
            box = int(value) if series == "box" else BOX
            source = stack(arguments.model, arguments.work, particles, box)
            classes = int(value) if series == "classes" else 1
            resolution = 1 / value if series == "frequency" else RESOLUTION
            for _ in range(arguments.repeats):
                out = arguments.work / "job"
                figures = run(source, out, classes, resolution, arguments.diameter)
                rows.append({"series": series, "value": value, **figures, "gemm": gemm_rate()})
                print(rows[-1], flush=True)
    for series in SERIES:
        members = [row for row in rows if row["series"] == series]
        x = [row["value"] for row in members]
        for row in members:
            for part in ("total_s", "iterations_s"):
                row[f"exponent_{part}"] = exponent(x, [other[part] for other in members])
    write_rows(RESULTS / "scaling.csv", list(rows[0]), rows)
    plot(rows, RESULTS / "scaling.svg")


if __name__ == "__main__":
    main()
