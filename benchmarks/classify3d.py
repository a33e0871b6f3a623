"""3D classification beside ``relion_refine`` (Class3D): the same stack, the same cores, one run.

    python benchmarks/classify3d.py --data DATA --work FOLDER [--images 600] [--classes 4]
        [--repeats 3] [--keep-relion]

GroEL, apo and holo 60:40, as in benchmarks/trust.py, without its poses.  Both programs begin from
the apo map at 50 A and tell classes apart at 7.5 degrees and 1 pixel.  RELION makes 25 iterations,
ours passes until the classes have settled.  Labels are right where each class is given the kind
that most of its particles are of.  The rows of benchmarks/results/classify3d.csv with as many
images and classes are replaced; a matrix product before and after each run measures the machine.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
from machine import timed, version
from rows import replace_rows
from stacks import without_poses
from trust import CASES, mixed

from vitreous.io.star import read_star

RESULTS = Path(__file__).parent / "results" / "classify3d.csv"
DIAMETER = 140
RELION = (
    "relion_refine --o {out}/run --i {particles} --ref {reference} --ini_high 50 "
    "--dont_combine_weights_via_disc --preread_images --pool 30 --pad 2 --ctf --iter 25 "
    "--tau2_fudge 4 --particle_diameter {diameter} --K {classes} --flatten_solvent --zero_mask "
    "--oversampling 1 --healpix_order 2 --offset_range 5 --offset_step 2 --sym C1 --norm --scale "
    "--firstiter_cc --j 2 --random_seed 1"
)
OURS = (
    "{python} -m vitreous classify3d {particles} --reference {reference} --classes {classes} "
    "--mask-diameter {diameter} --out {out} --overwrite"
)
FIELDS = (
    *("images", "classes", "program", "version", "wall_s", "cpu_s", "right", "peak_GB"),
    *("gemm_before", "gemm_after", "wall_ratio", "cpu_ratio"),
)


def right(star: Path, labels: np.ndarray) -> float:
    """Share of the labels that are right; RELION writes the particles in its own order."""
    frame = read_star(star)["particles"].frame
    rows = frame["rlnImageName"].str.split("@").list.first().cast(pl.Int64).to_numpy() - 1
    classes = frame["rlnClassNumber"].cast(pl.Int64).to_numpy()
    table = np.zeros((classes.max() + 1, labels.max() + 1), int)
    np.add.at(table, (classes, labels[rows]), 1)
    return float(table.max(axis=1).sum() / table.sum())


def stack(data: Path, work: Path, images: int) -> tuple[Path, np.ndarray]:
    """Particles without poses, and the state that each is in."""
    case = CASES["groel"]
    whole = sum(part.count for part in case.parts)
    parts = tuple(replace(part, count=part.count * images // whole) for part in case.parts)
    star, labels = mixed(replace(case, parts=parts), data, work)
    return without_poses(star), labels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--images", type=int, default=600)
    parser.add_argument("--classes", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--keep-relion", action="store_true")
    arguments = parser.parse_args()
    work = arguments.work.resolve() / f"{arguments.images}_{arguments.classes}"
    folder, kept = work / "data", work / "relion.json"
    folder.mkdir(parents=True, exist_ok=True)
    star, labels = stack(arguments.data.resolve(), folder, arguments.images)
    given = {
        "particles": star.name,
        "reference": folder / "part0" / "truth.mrc",
        "diameter": DIAMETER,
        "classes": arguments.classes,
    }
    if not (arguments.keep_relion and kept.is_file()):
        (work / "relion").mkdir(exist_ok=True)
        command = RELION.format(out=work / "relion", **given)
        figures = timed(command, work / "relion.log", folder)
        figures["right"] = right(work / "relion" / "run_it025_data.star", labels)
        kept.write_text(json.dumps({"program": "relion_refine", **figures}))
    peer = json.loads(kept.read_text())
    rows = []
    for repeat in range(arguments.repeats):
        out = work / f"ours{repeat}"
        shutil.rmtree(out, ignore_errors=True)
        command = OURS.format(python=sys.executable, out=out, **given)
        figures = timed(f"{command} --seed {repeat}", work / f"ours{repeat}.log", folder)
        figures["right"] = right(out / "particles.star", labels)
        rows.append({"program": "vitreous", "version": version(), **figures})
    for key in ("wall", "cpu"):
        peer[f"{key}_ratio"] = peer[f"{key}_s"] / statistics.median(r[f"{key}_s"] for r in rows)
    name = {"images": arguments.images, "classes": arguments.classes}
    replace_rows(RESULTS, FIELDS, [*rows, peer], name)


if __name__ == "__main__":
    main()
