"""Kill jobs that replace a former result at random moments, resume them, compare the bits."""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import time
from pathlib import Path

from small_jobs import JOBS, MAPS, Running, Tally, content, run, workshop

_CHECKPOINTS = ("checkpoint.safetensors", "checkpoint.previous.safetensors")


def whole(out: Path, name: str) -> bytes | None:
    """The result's map, wherever a killed replacement left it whole."""
    for folder in (out, out.with_name(f".{out.name}.before")):
        if (folder / "result.json").is_file():
            return (folder / MAPS[name]).read_bytes()
    return None


def killed_until_done(
    name: str, seconds: float, right: bytes, tally: Tally, draw: random.Random, kills: int
) -> None:
    """Kill and resume one job until it comes to its end or enough kills are counted."""
    out = Path("job")
    former = whole(out, name)
    while tally.count < kills:
        beside = out.with_name("job.unfinished")
        resumable = any((beside / c).is_file() for c in _CHECKPOINTS)
        process = Running(*JOBS[name], "--out", "job", "--resume" if resumable else "--overwrite")
        time.sleep(draw.uniform(0, seconds))
        process.send(signal.SIGKILL)
        ended = process.wait()
        if ended.code not in (0, -9):
            tally.fault(f"{name}: exit code {ended.code}: {ended.errors[-500:]}")
            return
        if ended.code == 0:
            break
        tally.count += 1
        if whole(out, name) not in (former, right):
            tally.loss(f"{name}: the former result is away")
    beside = out.with_name("job.unfinished")
    again = ["--resume"] if any((beside / c).is_file() for c in _CHECKPOINTS) else ["--overwrite"]
    done = run(*JOBS[name], "--out", "job", *again)
    if done.code != 0:
        tally.fault(f"{name}: cannot go on: {done.errors[-500:]}")
    elif (out / MAPS[name]).read_bytes() != right:
        tally.loss(f"{name}: other bits after resuming")
    leftovers = [
        path.name for path in Path().iterdir() if path.name not in ("data", "job", "right")
    ]
    if leftovers:
        tally.fault(f"{name}: left over: {leftovers}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", nargs="+", default=list(JOBS), choices=list(JOBS))
    options = parser.parse_args()
    draw, tally = random.Random(options.seed), Tally("kill -9 and resume")
    with workshop(*options.jobs):
        for number, name in enumerate(options.jobs, 1):
            began = time.monotonic()
            first = run(*JOBS[name], "--out", "right")
            seconds = time.monotonic() - began
            assert first.code == 0, first.errors
            right = content(Path("right"))[MAPS[name]]
            Path("right").rename("job")
            share = options.kills * number // len(options.jobs)
            while tally.count < share:
                killed_until_done(name, seconds, right, tally, draw, share)
            shutil.rmtree("job")
            print(f"{name}: {tally}", flush=True)
    print(tally.row())


if __name__ == "__main__":
    main()
