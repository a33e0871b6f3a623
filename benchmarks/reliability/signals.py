"""Send SIGINT, SIGTERM and SIGHUP to commands at random moments, loading included."""

from __future__ import annotations

import argparse
import random
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from small_jobs import JOBS, Ended, Running, Tally, run, said, status, workshop

_LONGEST = 10.0
"""Seconds that an interrupted command may take to end."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def while_loading(words: Sequence[str], sent: int, after: float) -> tuple[Ended, float]:
    """How a command of its own process ends, and the seconds that it takes."""
    line = [sys.executable, "-m", "vitreous", *words]
    silent = subprocess.DEVNULL
    with subprocess.Popen(line, stdout=silent, stderr=subprocess.PIPE, text=True) as process:
        time.sleep(after)
        process.send_signal(sent)
        began = time.monotonic()
        _, errors = process.communicate()
        return Ended(process.returncode, errors), time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--signals", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    draw, tally = random.Random(options.seed), Tally("signals")
    slowest = 0.0
    with workshop(*JOBS):
        for number in range(options.signals):
            name, sent = draw.choice(list(JOBS)), draw.choice(_SIGNALS)
            out = Path(f"job{number}")
            words = (*JOBS[name], "--out", str(out))
            if number % 4 == 0:
                ended, took = while_loading(words, sent, draw.uniform(0.1, 4))
            else:
                process = Running(*words)
                time.sleep(draw.uniform(0.1, 8))
                process.send(sent)
                began = time.monotonic()
                ended = process.wait()
                took = time.monotonic() - began
            if ended.code == 0:
                continue
            slowest = max(slowest, took)
            tally.count += 1
            lines = said(ended.errors)
            what = f"{name} {sent.name}"
            if ended.code != 128 + sent or len(lines) != 1 or took > _LONGEST:
                tally.fault(f"{what}: exit code {ended.code}, {took:.1f} s: {ended.errors[-400:]}")
                continue
            if out.is_dir() and any(out.iterdir()):
                due = "finished" if "results are whole" in lines[0] else "interrupted"
                if status(out) != due:
                    tally.fault(f"{what}: result.json says {status(out)}")
                if number % 5 == 0:
                    again = run(*shlex.split(lines[0].partition(": ")[2])[1:])
                    if again.code != 0:
                        tally.loss(f"{what}: cannot go on: {again.errors[-400:]}")
    print(f"slowest end: {slowest:.1f} s")
    print(tally.row())


if __name__ == "__main__":
    main()
