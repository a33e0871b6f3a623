"""Two ranks beside one: each has one core to itself, and they find each other as torchrun's do.

    python benchmarks/ranks.py --model MODEL --work FOLDER [--repeats 3] [--jobs refine ...]

10,000 simulated images of 64 px.  An iteration is the time between two passes over all particles by
the log, the mean within a job, as passes of a refinement differ in their work; of ab initio with
four starts it is the time from the beginning to the last mini-batch.  Jobs on one and on two ranks
take turns.  Every job is a row of benchmarks/results/ranks.csv; ``speed_up`` is what two ranks gain
over one, by medians.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from machine import version
from rows import replace_rows

from vitreous.config.simulate import SimulateConfig
from vitreous.jobs.simulate import run_simulate

RESULTS = Path(__file__).parent / "results" / "ranks.csv"
FIELDS = ("job", "ranks", "repeat", "iteration_s", "whole_s", "speed_up", "version")
PARTICLES = 10_000


@dataclass(frozen=True)
class Case:
    """A job on ranks.

    Attributes
    ----------
    options : tuple of str
        With the place of {truth}.
    event : str
        What the log has at the end of each iteration.
    whole : bool
        All iterations count together, from the job's beginning.
    """

    options: tuple[str, ...]
    event: str
    whole: bool = False


CASES = {
    "classify3d": Case(
        (
            "--reference",
            "{truth}",
            "--classes",
            "2",
            "--iterations",
            "8",
            "--angular-sampling",
            "15",
        ),
        "classification",
    ),
    "refine": Case(("--reference", "{truth}", "--local-search", "7.5"), "refinement"),
    "abinit": Case(("--starts", "4"), "iteration", whole=True),
}


def on_ranks(count: int, words: list[str], log: Path) -> float:
    """Wall time in seconds of a job on so many ranks, each pinned to a core."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {"WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count, "MASTER_PORT": port}
    began = time.perf_counter()
    with log.open("w") as file:
        processes = []
        for rank in range(count):
            own = {**common, "RANK": rank, "LOCAL_RANK": rank, "OMP_NUM_THREADS": 1}
            shared = {name: str(value) for name, value in own.items()} if count > 1 else {}
            environment = {**os.environ, "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1"}
            command = ["taskset", "-c", str(rank), sys.executable, "-m", "vitreous", *words]
            processes.append(
                subprocess.Popen(command, stdout=file, stderr=file, env={**environment, **shared})
            )
        ended = [process.wait() for process in processes]
        if any(ended):
            raise SystemExit(log.read_text())
    return time.perf_counter() - began


def iteration_time(log: Path, case: Case) -> float:
    """Seconds of an iteration, by the job's log."""
    events: list[dict[str, Any]] = [json.loads(line) for line in log.read_text().splitlines()]
    begun = next(event for event in events if event["event"] == "start")
    ended = [event for event in events if event["event"] == case.event]
    times = [datetime.fromisoformat(event["time"]).timestamp() for event in [begun, *ended]]
    if case.whole:
        return times[-1] - times[0]
    return statistics.mean(after - before for before, after in pairwise(times[1:]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--work", type=lambda text: Path(text).resolve(), required=True)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--jobs", nargs="+", choices=CASES, default=list(CASES))
    arguments = parser.parse_args()
    data = arguments.work / "data"
    if not data.exists():
        run_simulate(SimulateConfig(arguments.model, out=data, n=PARTICLES, box=64, pixel_size=4.0))
    for job in arguments.jobs:
        case, out = CASES[job], arguments.work / job
        words = [job, str(data / "particles.star"), "--out", str(out)]
        words += [option.format(truth=data / "truth.mrc") for option in case.options]
        found: list[dict[str, Any]] = []
        for repeat in range(arguments.repeats):
            for count in (1, 2):
                shutil.rmtree(out, ignore_errors=True)
                whole = on_ranks(count, words, arguments.work / f"{job}.log")
                each = iteration_time(out / "log.jsonl", case)
                row = {"ranks": count, "repeat": repeat, "iteration_s": each}
                found.append({**row, "whole_s": whole, "version": version()})
        alone, shared = (
            statistics.median(row["iteration_s"] for row in found if row["ranks"] == count)
            for count in (1, 2)
        )
        gained = [{**row, "speed_up": alone / shared if row["ranks"] == 2 else ""} for row in found]
        replace_rows(RESULTS, FIELDS, gained, {"job": job})


if __name__ == "__main__":
    main()
