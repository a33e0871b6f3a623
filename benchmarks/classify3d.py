"""3D classification beside ``relion_refine`` (Class3D): the same stack, the same cores, one run.

    python benchmarks/classify3d.py --particles STAR --labels LABELS.npy --reference MAP \
        --diameter A --work FOLDER [--classes 4] [--repeats 3] [--keep-relion]

Both begin from one reference at 50 A and tell classes apart at 7.5 degrees and 1 pixel.  RELION
makes 25 iterations, ours passes until the classes have settled.  Labels are right where each class
is given the kind that most of its particles are of.  Writes benchmarks/results/classify3d.csv; a
matrix product before and after each run measures the machine.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import statistics
import sys
from pathlib import Path

import numpy as np
import polars as pl
from machine import timed

import vitreous
from vitreous.io.star import read_star

RELION = (
    "relion_refine --o {out}/run --i {particles} --ref {reference} --ini_high 50 "
    "--dont_combine_weights_via_disc --preread_images --pool 30 --pad 2 --ctf --iter 25 "
    "--tau2_fudge 4 --particle_diameter {diameter:g} --K {classes} --flatten_solvent --zero_mask "
    "--oversampling 1 --healpix_order 2 --offset_range 5 --offset_step 2 --sym C1 --norm --scale "
    "--firstiter_cc --j 2 --random_seed 1"
)
OURS = (
    "{python} -m vitreous classify3d {particles} --reference {reference} --classes {classes} "
    "--mask-diameter {diameter:g} --out {out} --overwrite"
)
FIELDS = (
    *("program", "version", "classes", "wall_s", "cpu_s", "right", "peak_MB"),
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("particles", "labels", "reference", "work"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--diameter", type=float, required=True)
    parser.add_argument("--classes", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--keep-relion", action="store_true")
    default = Path(__file__).parent / "results" / "classify3d.csv"
    parser.add_argument("--out", type=Path, default=default)
    arguments = parser.parse_args()
    work, labels = arguments.work.resolve(), np.load(arguments.labels)
    work.mkdir(parents=True, exist_ok=True)
    given = {
        "particles": arguments.particles.name,
        "reference": arguments.reference.resolve(),
        "diameter": arguments.diameter,
        "classes": arguments.classes,
    }
    folder, kept = arguments.particles.resolve().parent, work / "relion.json"
    if not arguments.keep_relion:
        (work / "relion").mkdir(exist_ok=True)
        command = RELION.format(out=work / "relion", **given)
        figures = timed(command, folder, work / "relion.log")
        figures["right"] = right(work / "relion" / "run_it025_data.star", labels)
        kept.write_text(json.dumps({"program": "relion_refine", **figures}))
    peer = json.loads(kept.read_text())
    rows = []
    for repeat in range(arguments.repeats):
        out = work / f"ours{repeat}"
        shutil.rmtree(out, ignore_errors=True)
        command = OURS.format(python=sys.executable, out=out, **given)
        figures = timed(f"{command} --seed {repeat}", folder, work / f"ours{repeat}.log")
        figures["right"] = right(out / "particles.star", labels)
        rows.append({"program": "vitreous", "version": vitreous.__version__, **figures})
    for key in ("wall", "cpu"):
        peer[f"{key}_ratio"] = peer[f"{key}_s"] / statistics.median(r[f"{key}_s"] for r in rows)
    with arguments.out.open("w", newline="") as file:
        writer = csv.DictWriter(file, FIELDS)
        writer.writeheader()
        for row in (*rows, peer):
            row = {"classes": arguments.classes, **row}
            writer.writerow({k: f"{v:.4g}" if isinstance(v, float) else v for k, v in row.items()})


if __name__ == "__main__":
    main()
