"""A real stack without its symmetry: is the map right, or the next step that the job names?

    python benchmarks/next_step.py --data DATA --work FOLDER [--seeds 0 1 2 3 4]

``DATA`` is the folder of particles and models that the tests use.  Default options on apoferritin
of EMPIAR-10146; where the job is not solved the command that it names is run as it stands.  A map
is right if its FSC with the model is 0.5 at 20 A or finer.  Every seed is a row of
benchmarks/results/next_step.csv.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
from pathlib import Path

from machine import measured, version, vitreous
from rows import keep
from trust import resolution

RESULTS = Path(__file__).parent / "results" / "next_step.csv"
STACK = "empiar10146/particles_3.0A_72.star"
MODEL = "models/apoferritin_CA_sym_cryolike.pdb"
RIGHT = 20.0
"""Angstrom."""
FIELDS = (
    *("seed", "verdict", "fsc05_A", "sentence", "next_step", "next_verdict", "next_fsc05_A"),
    *("right", "wall_s", "version"),
)


def run_job(words: list[str], out: Path, model: Path) -> tuple[dict, float, float]:
    """What an ab initio job tells, its map's resolution against the model, and its wall time."""
    shutil.rmtree(out, ignore_errors=True)
    wall = measured(vitreous(*words), out.with_suffix(".log"))["wall_s"]
    told = json.loads((out / "result.json").read_text())
    return told, resolution(out / "class001.mrc", model), wall


def run_seed(seed: int, data: Path, work: Path) -> dict[str, object]:
    """A default job and, where it is not solved, the next step that it names."""
    out, model = work / f"seed{seed}", data / MODEL
    words = ["abinit", str(data / STACK), "--out", str(out), "--seed", str(seed)]
    result, found, wall = run_job(words, out, model)
    row = {
        "seed": seed,
        "verdict": result["verdict"],
        "fsc05_A": found,
        "sentence": result["sentence"],
        "right": result["verdict"] == "solved" and found <= RIGHT,
        "wall_s": wall,
        "version": version(),
    }
    if result["verdict"] != "solved":
        command = shlex.split(result["next_step"]["command"])[1:]
        at = command.index("--out")
        after, reached, more = run_job(command, Path(command[at + 1]), model)
        solved = after["verdict"] == "solved"
        row |= {
            "next_step": shlex.join(command[at + 2 :]),
            "next_verdict": after["verdict"],
            "next_fsc05_A": reached,
            "right": solved and reached <= RIGHT,
            "wall_s": wall + more,
        }
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("--data", "--work"):
        parser.add_argument(name, type=lambda text: Path(text).resolve(), required=True)
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(5)))
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    for seed in given.seeds:
        row = run_seed(seed, given.data, given.work)
        print(row, flush=True)
        keep(RESULTS, FIELDS, row, {"seed": None})


if __name__ == "__main__":
    main()
