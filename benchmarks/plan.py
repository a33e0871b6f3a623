"""How far ``vitreous plan`` is from what jobs then take: memory at the fullest, and time.

    python benchmarks/plan.py --work FOLDER [--cases reconstruct refine ...] [--sizes small large]

Particles of the built-in molecule: 600 of 64 px, and 1,500 of 96 px.  Every job is planned and then
runs, each in a process of its own, and on one core if the command is given to ``taskset -c 0``.
What a process held at its fullest (VmHWM) and its CPU time are what the system says of it when it
ends.  Time is expected for a machine that nothing else keeps busy: on one core that is the CPU
time, and the wall time tells how busy the machine was.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from rows import keep

from vitreous.config.simulate import SimulateConfig
from vitreous.imaging.phantom import built_in_phantom
from vitreous.jobs.simulate import simulate

RESULTS = Path(__file__).parent / "results" / "plan.csv"
FIELDS = (
    *("case", "size", "particles", "box", "expected_GB", "peak_GB", "memory_ratio"),
    *("expected_s", "cpu_s", "time_ratio", "wall_s", "stopped"),
)
SIZES = {"small": (600, 64, 4.0), "large": (1500, 96, 2.667)}
"""Particles, pixels and angstrom."""

CASES = {
    "reconstruct": "reconstruct {star}",
    "classify3d": "classify3d {star} --reference {truth} --classes 2",
    "refine": "refine {star} --reference {truth}",
    "abinit-one-start": "abinit {star} --starts 1",
    "abinit": "abinit {star}",
}


def made(size: str, work: Path) -> Path:
    """The STAR file of a size; made once, truth.mrc beside it."""
    count, box, pixel_size = SIZES[size]
    out = work / f"particles-{size}"
    star = out / "particles.star"
    if not star.is_file():
        config = SimulateConfig(Path("built-in"), out=out, n=count, snr=0.2, overwrite=True)
        simulate(built_in_phantom(box, pixel_size), pixel_size, config)
    return star


def vitreous(*arguments: str) -> list[str]:
    """The command line of a job."""
    return [sys.executable, "-m", "vitreous", *arguments]


def run(command: list[str], log: Path) -> dict[str, object]:
    """Peak memory and times of a process; its last words if it stops."""
    began = time.perf_counter()
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file)
        _, status, used = os.wait4(process.pid, 0)
    words = log.read_text().strip().splitlines() or ["no word"]
    return {
        "wall_s": time.perf_counter() - began,
        "cpu_s": used.ru_utime + used.ru_stime,
        "peak_GB": used.ru_maxrss * 1024 / 1e9,
        "stopped": words[-1] if status else "",
    }


def measured(case: str, size: str, work: Path) -> dict[str, object]:
    """A job planned, and run."""
    star, out = made(size, work), work / f"{case}-{size}"
    shutil.rmtree(out, ignore_errors=True)
    words = CASES[case].format(star=star, truth=star.parent / "truth.mrc").split()
    command = [*words, "--out", str(out)]
    plan = subprocess.run(
        vitreous("plan", *command, "--json", "-"), check=True, capture_output=True, text=True
    )
    expected = json.loads(plan.stdout)
    found = run(vitreous(*command), out.with_suffix(".log"))
    count, box, _ = SIZES[size]
    memory, seconds = expected["memory_GB"]["host_total"], expected["total_seconds"]
    print(json.dumps(expected["seconds"]), flush=True)
    return {
        "case": case, "size": size, "particles": count, "box": box,
        "expected_GB": memory, "memory_ratio": found["peak_GB"] / memory,
        "expected_s": seconds, "time_ratio": found["cpu_s"] / seconds, **found,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=lambda text: Path(text).resolve(), required=True)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    for size in given.sizes:
        for case in given.cases:
            row = measured(case, size, given.work)
            print(row, flush=True)
            keep(RESULTS, FIELDS, row, {"case": list(CASES), "size": list(SIZES)})


if __name__ == "__main__":
    main()
