"""Spoiled inputs for every reader: each must be read, or refused by an error of ours.

    python benchmarks/reliability/fuzz.py [READER ...] [--inputs 100000] [--only NUMBER]

A fault is any other exception, more than five seconds of the processor's time, more memory than
two gigabytes beyond the program's own, or the end of the process. Inputs are numbered; a number
always gives the same one, and --only runs it alone, with the traceback. Workers read fifty
thousand inputs each. A line for each reader goes to benchmarks/results/fuzz.csv.
"""

from __future__ import annotations

import argparse
import csv
import json
import resource
import signal
import subprocess
import sys
import time
import traceback
from collections import Counter
from pathlib import Path
from random import Random

from mutations import mutated
from targets import TARGETS, Target, folder

from vitreous.errors import VitreousError

RESULTS = Path(__file__).parents[1] / "results" / "fuzz.csv"
PIECE = 50_000
SECONDS = 5
MEMORY = 2 << 30
SILENCE = 120
"""Seconds without a sign of life after which a worker hangs in a library."""


class HangError(BaseException):
    """The time for one input is over."""


def _ring(*_: object) -> None:
    raise HangError


def content(target: Target, name: str, seeds: list[bytes], number: int) -> bytes:
    """The input of this number."""
    random = Random(f"{name} {number}")
    if target.grammar is not None and random.random() < 0.4:
        made = target.grammar(random)
        return mutated(random, [made], target.binary) if random.random() < 0.3 else made
    return mutated(random, seeds, target.binary)


def fault_of(target: Target, path: Path) -> str | None:
    """What went wrong in reading a file, and where."""
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
    try:
        target.read(path)
    except VitreousError:
        return None
    except HangError:
        return "hang"
    except BaseException as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__} in {Path(last.filename).name}:{last.lineno}"
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    return None


def work(name: str, first: int, stop: int, raw: bool = False) -> None:
    """Read some inputs; tell of each, and of each fault, as a line of JSON."""
    target = TARGETS[name]
    signal.signal(signal.SIGVTALRM, _ring)
    with folder() as place:
        seeds = target.seeds(Path(place))
        own = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (own + MEMORY, resource.RLIM_INFINITY))
        for number in range(first, stop):
            path = Path(place) / target.name
            path.write_bytes(content(target, name, seeds, number))
            print(json.dumps({"at": number}), flush=True)
            if raw:
                print(path.read_bytes()[:2000])
                target.read(path)
            fault = fault_of(target, path)
            if fault is not None:
                print(json.dumps({"at": number, "fault": fault}), flush=True)


def watched(name: str, first: int, stop: int) -> tuple[list[tuple[int, str]], int]:
    """Faults of a worker, and the number of the input at which to go on."""
    faults: list[tuple[int, str]] = []
    command = [sys.executable, __file__, name, "--work", str(first), str(stop)]
    at = first - 1
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None

        def silent(*_: object) -> None:
            worker.kill()

        signal.signal(signal.SIGALRM, silent)
        for line in worker.stdout:
            signal.alarm(SILENCE)
            told = json.loads(line)
            at = told["at"]
            if "fault" in told:
                faults.append((at, told["fault"]))
        signal.alarm(0)
    if worker.returncode:
        faults.append((at, f"the process ended with {worker.returncode}"))
        return faults, max(at, first) + 1
    return faults, stop


def run(name: str, inputs: int) -> dict[str, object]:
    """Fuzz one reader and tell what was found."""
    began, number = time.monotonic(), 0
    faults: list[tuple[int, str]] = []
    while number < inputs:
        found, number = watched(name, number, min(inputs, number + PIECE))
        faults += found
    for what, count in Counter(what for _, what in faults).most_common():
        first = next(at for at, other in faults if other == what)
        print(f"{name}: {count} x {what}, first at {first}", flush=True)
    seconds = round(time.monotonic() - began)
    print(f"{name}: {inputs} inputs, {len(faults)} faults, {seconds} s", flush=True)
    return {"reader": name, "inputs": inputs, "faults": len(faults), "seconds": seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("readers", nargs="*", default=list(TARGETS))
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--only", type=int)
    parser.add_argument("--work", type=int, nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work or options.only is not None:
        begin, stop = options.work or (options.only, options.only + 1)
        work(options.readers[0], begin, stop, raw=not options.work)
        return
    old = list(csv.DictReader(RESULTS.open())) if RESULTS.exists() else []
    rows = {row["reader"]: row for row in old}
    for name in options.readers:
        rows[name] = run(name, options.inputs)
        with RESULTS.open("w", newline="") as file:
            writer = csv.DictWriter(file, ["reader", "inputs", "faults", "seconds"])
            writer.writeheader()
            writer.writerows(rows[each] for each in TARGETS if each in rows)


if __name__ == "__main__":
    main()
