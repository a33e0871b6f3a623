"""Ab initio on particles as they are: coloured noise, junk, neighbours, wrong defoci.

    python benchmarks/as_they_are.py --instruments FOLDER --data DATA --work FOLDER \
        [--cases riboswitch ...] [--snr 0.12 ...] [--seeds 0 1 ...]

``FOLDER`` of the instruments holds an independent simulator (model_npz.py, holdsim.py), which turns
atoms in real space; ``DATA`` the models that the tests use.  A stack holds 3,000 good particles and
15 % junk of five kinds; its signal-to-noise ratio is that over the box.  A map is right if its FSC
with the truth is 0.5 at no more than 1.3 times the resolution of the map that the good particles
give at their true poses.  Every job, good or bad, is a row of benchmarks/results/as_they_are.csv,
in the place of one of the same case, ratio and seed.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rows import keep
from trust import ACCEPTED, classes_of, resolution, resolution_at_true_poses, run_abinit

import vitreous

RESULTS = Path(__file__).parent / "results" / "as_they_are.csv"
FIELDS = (
    *("case", "snr", "seed", "verdict", "right", "fsc05_A", "needed_A", "good_kept"),
    *("junk_dropped", "wall_s", "cpu_s", "sentence", "options", "version"),
)
SNRS = ("0.12", "0.06", "0.03")


@dataclass(frozen=True)
class Case:
    """A molecule, and the options of its job.

    Attributes
    ----------
    model : str
        Its file among the models.
    pixel_size : float
        Angstrom.
    options : str
    """

    model: str
    pixel_size: float = 3.0
    options: str = ""


CASES = {
    "riboswitch": Case("4gxy_riboswitchRNA.cif"),
    "pol2": Case("1y1v_polII_TFIIS.pdb", 4.0),
    "ruvb": Case("7pbl.pdb"),
    "groel": Case("groel_apo_CA.pdb"),
    "apoferritin": Case("apoferritin_CA_sym_cryolike.pdb", options="--symmetry O"),
}


def simulated(case: Case, snr: str, instruments: Path, data: Path, work: Path) -> Path:
    """Name that the files of a stack begin with; made once."""
    name = work / f"snr{snr}"
    if beside(name, "_true.star").is_file():
        return name
    atoms = work / "atoms.npz"
    made = [str(instruments / "model_npz.py"), str(data / "models" / case.model), str(atoms)]
    options = ["--model", str(atoms), "--px", str(case.pixel_size), "--snr", snr, "--seed", "1"]
    stack = [str(instruments / "holdsim.py"), str(name), *options]
    for command in (made, stack):
        subprocess.run([sys.executable, *command], check=True, capture_output=True)
    return name


def beside(name: Path, ending: str) -> Path:
    """Another file of the same stack."""
    return name.with_name(name.name + ending)


def run_job(name: Path, options: str, out: Path, seed: int, needed: float) -> dict[str, object]:
    """One default job, its verdict, and the truth about it."""
    began, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    stopped = run_abinit(beside(name, ".star"), options, out, seed)
    row: dict[str, object] = {
        "wall_s": time.perf_counter() - began,
        "cpu_s": resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - used,
        "needed_A": ACCEPTED * needed,
    }
    if stopped:
        return row | {"verdict": "stopped", "right": False, "sentence": stopped}
    result = json.loads((out / "result.json").read_text())
    found = resolution(out / "class001.mrc", beside(name, "_gt0.mrc"))
    good = np.load(beside(name, "_truth.npz"))["label"] >= 0
    maps = [entry["class"] - 1 for entry in result["classes"] if entry["label"] == "map"]
    kept = np.isin(classes_of(out / "particles.star"), maps)
    return row | {
        "verdict": result["verdict"],
        "right": found <= ACCEPTED * needed,
        "fsc05_A": found,
        "good_kept": float(kept[good].mean()),
        "junk_dropped": float((~kept[~good]).mean()),
        "sentence": result["sentence"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("--instruments", "--data", "--work"):
        parser.add_argument(name, type=lambda text: Path(text).resolve(), required=True)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--snr", nargs="+", choices=SNRS, default=list(SNRS))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(5)))
    parser.add_argument("--options", default="", help="more options for every job")
    given = parser.parse_args()
    for case_name in given.cases:
        case, work = CASES[case_name], given.work / case_name
        work.mkdir(parents=True, exist_ok=True)
        for snr in given.snr:
            stack = simulated(case, snr, given.instruments, given.data, work)
            truth = beside(stack, "_gt0.mrc")
            needed = resolution_at_true_poses(
                beside(stack, "_true.star"), truth, beside(stack, "_ceiling.mrc")
            )
            options = f"{case.options} {given.options}".strip()
            for seed in given.seeds:
                job = run_job(stack, options, beside(stack, f"_job{seed}"), seed, needed)
                row = {"case": case_name, "snr": snr, "seed": seed, "options": options,
                       "version": vitreous.__version__, **job}  # fmt: skip
                print(row, flush=True)
                keep(RESULTS, FIELDS, row, {"case": list(CASES), "snr": SNRS, "seed": None})


if __name__ == "__main__":
    main()
