"""The whole road on simulated movies: verdict, resolution to the truth, and time.

    python benchmarks/process.py --instruments FOLDER --model MODEL --work FOLDER \
        [--movies 30] [--seed 5000] [--micrographs]

``FOLDER`` of the instruments holds independent simulators (moviesim.py and micsim.py): RNA
polymerase II in ice that moves, damage, counting noise, contaminants, defoci of 0.9 to 2
micrometres.  ``vitreous process`` is given the pixel size, the dose and the voltage alone.  With
``--micrographs`` sums without motion, of 2048 pixels, take the place of movies of 1024.  Movies and
steps that are there already are not made again, so that an interrupted run goes on.  A row of
benchmarks/results/process.csv has the verdict, picks against the true places (within 0.35 of the
diameter that was found), the FSC of the sharpened map to the model, and the processor time of all
processes.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
from machine import measured, version, vitreous
from rows import keep

from vitreous.config.maps import CompareConfig
from vitreous.io.star import read_star
from vitreous.jobs.compare import run_compare

RESULTS = Path(__file__).parent / "results" / "process.csv"
FIELDS = (
    *("input", "count", "particles", "verdict", "diameter_A", "recall", "precision", "kept"),
    *("resolution_0143_A", "to_truth_05_A", "steps", "cpu_s", "wall_s", "version"),
)
PIXEL, VOLTAGE, FRAMES, NEAR = 1.4, 300.0, 40, 0.35


def made_movie(sim: Any, stem: Path, number: int, options: argparse.Namespace) -> None:
    """A movie, its gain applied."""
    mean = float(np.random.default_rng(options.seed + number).uniform(9000, 20000))
    movie, gain = sim.simulate(
        str(stem),
        frames=FRAMES,
        U=mean + 150,
        V=mean - 150,
        npart=85,
        mind=130.0,
        seed=options.seed + number,
        model=str(options.model),
        save=False,
    )
    mrcfile.write(stem.with_suffix(".mrc"), (movie * gain).astype(np.float16), voxel_size=PIXEL)


def made_micrograph(sim: Any, stem: Path, number: int, options: argparse.Namespace) -> None:
    mean = float(np.random.default_rng(options.seed + number).uniform(9000, 20000))
    image, truth = sim.micrograph(
        n=2048,
        U=mean + 150,
        V=mean - 150,
        npart=230,
        junk=3,
        seed=options.seed + number,
        model=str(options.model),
    )
    np.savez(stem, coords=truth["coords"])
    mrcfile.write(stem.with_suffix(".mrc"), image, voxel_size=PIXEL)


def simulated(options: argparse.Namespace) -> list[Path]:
    sys.path.insert(0, str(options.instruments))
    sim = importlib.import_module("micsim" if options.micrographs else "moviesim")
    make = made_micrograph if options.micrographs else made_movie
    stems = [options.work / f"m{number:03d}" for number in range(options.movies)]
    for number, stem in enumerate(stems):
        if not stem.with_suffix(".mrc").is_file():
            make(sim, stem, number, options)
    return stems


def hits(stems: list[Path], picks: Path, diameter: float) -> tuple[float, float]:
    """Recall and precision of picks, each particle found once."""
    frame = read_star(picks)["picks"].frame
    good = total = 0
    for stem in stems:
        truth = np.load(stem.with_suffix(".npz"))["coords"]
        own = frame.filter(
            frame["rlnMicrographName"].str.contains(f"{stem.name}.mrc", literal=True)
        )
        xy = own.select("rlnCoordinateX", "rlnCoordinateY").cast(float).to_numpy()
        free, total = list(range(len(truth))), total + len(truth)
        for place in xy:
            off = np.hypot(*(truth[free] - place).T)
            if len(free) and off.min() * PIXEL <= NEAR * diameter:
                free.pop(int(off.argmin()))
                good += 1
    return good / total, good / max(len(frame), 1)


def main(options: argparse.Namespace) -> None:
    options.work.mkdir(parents=True, exist_ok=True)
    stems, out = simulated(options), options.work / "road"
    command = vitreous("process", options.work / "m*.mrc")
    command += ["--pixel-size", str(PIXEL), "--voltage", str(VOLTAGE), "--out", str(out)]
    command += [] if options.micrographs else ["--dose", "1"]
    command += ["--resume"] if (out / "steps.json").is_file() else []
    figures = measured(command, options.work / "process.log")
    found = json.loads((out / "result.json").read_text())
    picked = [out / s["folder"] for s in found["steps"] if s["job"] == "pick"]
    told = [json.loads((folder / "result.json").read_text()) for folder in picked]
    row: dict[str, object] = {
        "input": "micrographs" if options.micrographs else "movies",
        "count": options.movies,
        "verdict": found["verdict"],
        "steps": len(found["steps"]),
        "cpu_s": figures["cpu_s"],
        "wall_s": figures["wall_s"],
        "version": version(),
    }
    if picked:
        diameter = float(told[-1]["options"]["diameter"])
        recall, precision = hits(stems, picked[-1] / "picks.star", diameter)
        row |= {"particles": told[-1]["picks"], "diameter_A": diameter}
        row |= {"recall": recall, "precision": precision}
    if "map" in found:
        truth = run_compare(CompareConfig(out / found["sharpened"], options.model))
        row |= {"kept": found["n_particles"], "resolution_0143_A": found["resolution_0143"]}
        row["to_truth_05_A"] = truth.resolution_05
    print(row)
    keep(RESULTS, FIELDS, row, {"input": ("movies", "micrographs"), "count": None})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--instruments", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--movies", type=int, default=30)
    parser.add_argument("--seed", type=int, default=5000)
    parser.add_argument("--micrographs", action="store_true")
    main(parser.parse_args())
