"""A rank killed at a random moment: how the job ends, and what it resumes to.

    python benchmarks/kills.py --work FOLDER [--kills 20] [--seed 0]

Jobs share 4,200 simulated images of 16 px between two ranks.  One of them, by lot, is killed with
SIGKILL at a moment drawn evenly from the time that the undisturbed job takes.  The job then resumes
on four ranks, or begins anew where it had left no checkpoint.  Every kill is a row of
benchmarks/results/kills.csv: seconds until all had ended, whether one line told it, whether there
was a checkpoint, and whether all maps and particles are the bits of an undisturbed run on one rank.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from machine import version
from rows import write_rows

from vitreous.config.simulate import SimulateConfig
from vitreous.imaging.phantom import built_in_phantom
from vitreous.jobs.simulate import simulate_from
from vitreous.runs.folder import ignore

RESULTS = Path(__file__).parent / "results" / "kills.csv"
FIELDS = (
    *("kill", "job", "rank", "moment_s", "ended_s", "told", "checkpoint", "same_bits", "version"),
)
PATIENCE = 30
PARTICLES, BOX, PIXEL_SIZE = 4200, 16, 15.0
JOBS = {
    "refine": ("--reference", "{truth}", "--iterations", "4"),
    "classify3d": (
        *("--reference", "{truth}", "--classes", "2", "--iterations", "4"),
        *("--resolution-limit", "50"),
    ),
    "abinit": (
        *("--starts", "2", "--initial-iterations", "8", "--between-iterations", "8"),
        *("--final-iterations", "8", "--final-resolution", "50", "--polish-passes", "1"),
    ),
}


def command(job: str, data: Path, out: Path, ranks: int, *more: str) -> list[str]:
    options = [option.format(truth=data / "truth.mrc") for option in JOBS[job]]
    words = [job, str(data / "particles.star"), *options, "--out", str(out), *more]
    run = ["--threads", "1", "--ranks", str(ranks)]
    return [sys.executable, "-m", "vitreous", *words, *run]


def children(pid: int) -> list[int]:
    found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True).stdout
    return sorted(int(word) for word in found.split())


def bits(folder: Path) -> dict[str, bytes]:
    return {
        path.name: path.read_bytes()
        for pattern in ("*.mrc", "*.star")
        for path in sorted(folder.glob(pattern))
    }


def killed(words: list[str], rank: int, moment: float) -> dict[str, object]:
    """Begin a job, kill a rank, and see how it ends."""
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    began = time.perf_counter()
    while not (ranks := children(process.pid)):
        time.sleep(0.05)
    time.sleep(max(0.0, moment - (time.perf_counter() - began)))
    if process.poll() is not None:
        return {"ended_s": 0.0, "told": "the job had ended"}
    os.kill(ranks[rank], signal.SIGKILL)
    at = time.perf_counter()
    try:
        said = process.communicate(timeout=PATIENCE)[1]
    except subprocess.TimeoutExpired:
        process.kill()
        return {"ended_s": "never", "told": False}
    told = said.count("error:") == 1 and f"rank {rank} was ended by SIGKILL" in said
    return {"ended_s": time.perf_counter() - at, "told": told and "Traceback" not in said}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=lambda text: Path(text).resolve(), required=True)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    work, chance = arguments.work, random.Random(arguments.seed)
    data = work / "data"
    config = SimulateConfig(Path("built-in"), out=data, n=PARTICLES, snr=1.0, overwrite=True)
    simulate_from(lambda: (built_in_phantom(BOX, PIXEL_SIZE), PIXEL_SIZE), config, ignore)
    whole, lasts = {}, {}
    for job in JOBS:
        subprocess.run(command(job, data, work / job, 1, "--overwrite"), check=True)
        whole[job] = bits(work / job)
        began = time.perf_counter()
        subprocess.run(command(job, data, work / f"{job}2", 2, "--overwrite"), check=True)
        lasts[job] = time.perf_counter() - began
    rows = []
    for kill in range(arguments.kills):
        job, rank = chance.choice(list(JOBS)), chance.randrange(2)
        moment, out = chance.random() * lasts[job], work / f"killed{kill}"
        found = killed(command(job, data, out, 2), rank, moment)
        kept = any(out.glob("checkpoint*.safetensors"))
        again = "--resume" if kept else "--overwrite"
        subprocess.run(command(job, data, out, 4, again), check=True)
        row = {"kill": kill, "job": job, "rank": rank, "moment_s": moment, **found}
        same = bits(out) == whole[job]
        rows.append({**row, "checkpoint": kept, "same_bits": same, "version": version()})
        write_rows(RESULTS, FIELDS, rows)


if __name__ == "__main__":
    main()
