"""Ab initio beside ``relion_refine --sgd``: the same stack, the same cores, one run.

    python benchmarks/beside_relion.py --model MODEL.pdb --work FOLDER [--repeats 3] [--keep-relion]

Simulates 3,000 particles (box 64, 4 A/px, SNR 0.1), runs RELION once with its tutorial's settings
and ``vitreous abinit`` several times: one start, which is what RELION does; the default, which ends
with a verdict; and the default with four classes.  Each map is compared with the truth, and
RELION's time with the median of one start, in benchmarks/results/beside_relion.csv.  A matrix
product before and after each run measures the machine.  ``--keep-relion`` takes RELION's run, half
an hour long, from the same folder: the stack is the same, and the products' rates say whether the
machine is.  CPU seconds stand beside wall seconds, as they suffer less from other work.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import statistics
import subprocess
from pathlib import Path

from machine import timed, version, vitreous
from rows import write_rows

from vitreous.config.maps import CompareConfig
from vitreous.config.simulate import SimulateConfig
from vitreous.jobs.compare import run_compare
from vitreous.jobs.simulate import run_simulate

RELION = (
    "relion_refine --o {out}/run --sgd --denovo_3dref --i {star} --ctf --K 1 --sym {symmetry} "
    "--flatten_solvent --zero_mask --dont_combine_weights_via_disc --preread_images --pool 3 "
    "--pad 1 --particle_diameter {diameter:g} --oversampling 1 --healpix_order 1 "
    "--offset_range 6 --offset_step 4 --sgd_ini_iter 25 --sgd_inbetween_iter 100 "
    "--sgd_fin_iter 25 --sgd_write_iter 10 --sgd_ini_resol 35 --sgd_fin_resol 15 "
    "--sgd_ini_subset 100 --sgd_fin_subset 500 --sgd_sigma2fudge_halflife -1 --j 2 "
    "--random_seed {seed}"
)
OURS = {
    "one start": "--starts 1",
    "default": "",
    "four classes": "--classes 4",
}
"""Jobs, and their options."""
FIELDS = (
    *("program", "job", "version", "wall_s", "cpu_s", "fsc05_A", "peak_GB"),
    *("gemm_before", "gemm_after", "wall_ratio", "cpu_ratio"),
)


def agreement(found: Path, truth: Path) -> float:
    """FSC 0.5 in angstrom of a map against the truth."""
    config = CompareConfig(found, truth, out=found.with_suffix(".aligned.mrc"), overwrite=True)
    return run_compare(config).resolution_05 or float("nan")


def run_relion(work: Path, truth: Path, diameter: float) -> dict[str, float | str]:
    """RELION's run and its figures."""
    (work / "relion").mkdir(exist_ok=True)
    command = RELION.format(
        out=work / "relion", star="particles.star", symmetry="C1", diameter=diameter, seed=1
    )
    figures = timed(command, work / "relion.log", work / "data")
    last = max((work / "relion").glob("run_it*_class001.mrc"))
    figures["fsc05_A"] = agreement(last, truth)
    version = subprocess.run(["relion_refine", "--version"], capture_output=True, text=True).stdout
    return {
        "program": "relion_refine --sgd",
        "job": "one start",
        "version": version.split("\n")[0].strip(),
        **figures,
    }


def run_ours(
    job: str, repeat: int, work: Path, truth: Path, diameter: float
) -> dict[str, float | str]:
    """One of our runs and its figures."""
    out = work / f"ours{repeat}"
    shutil.rmtree(out, ignore_errors=True)
    words = vitreous("abinit", "particles.star", "--out", out, *OURS[job].split())
    words += ["--mask-diameter", f"{diameter:g}", "--seed", str(repeat)]
    figures = timed(shlex.join(words), out.with_suffix(".log"), work / "data")
    figures["fsc05_A"] = agreement(out / "class001.mrc", truth)
    return {"program": "vitreous", "job": job, "version": version(), **figures}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--diameter", type=float, default=200.0)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--keep-relion", action="store_true")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path(__file__).parent / "results" / "beside_relion.csv",
    )
    arguments = parser.parse_args()
    work = arguments.work.resolve()
    truth = work / "data" / "truth.mrc"
    kept = work / "relion.json"
    if not arguments.keep_relion:
        simulation = SimulateConfig(
            arguments.model, out=work / "data", box=64, pixel_size=4.0, overwrite=True
        )
        run_simulate(simulation)
        kept.write_text(json.dumps(run_relion(work, truth, arguments.diameter)))
    peer = json.loads(kept.read_text())
    rows = [
        run_ours(job, repeat, work, truth, arguments.diameter)
        for job in OURS
        for repeat in range(arguments.repeats)
    ]
    for key in ("wall", "cpu"):
        alike = [row[f"{key}_s"] for row in rows if row["job"] == peer["job"]]
        peer[f"{key}_ratio"] = peer[f"{key}_s"] / statistics.median(alike)
    rows.append(peer)
    write_rows(arguments.out, FIELDS, rows)


if __name__ == "__main__":
    main()
