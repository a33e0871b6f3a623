"""Start several jobs at once in one folder: one works, the others end in one line."""

from __future__ import annotations

import argparse
from pathlib import Path

from small_jobs import JOBS, MAPS, Running, Tally, clean_failure, content, run, status, workshop


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--at-once", type=int, default=3)
    options = parser.parse_args()
    tally = Tally("two jobs in one folder")
    name = "refine"
    with workshop(name):
        assert run(*JOBS[name], "--out", "right").code == 0
        right = content(Path("right"))[MAPS[name]]
        for number in range(options.rounds):
            again = [] if number == 0 else ["--overwrite"]
            jobs = [Running(*JOBS[name], "--out", "job", *again) for _ in range(options.at_once)]
            ended = [job.wait() for job in jobs]
            tally.count += options.at_once - 1
            winners = [one for one in ended if one.code == 0]
            if not winners or (len(winners) > 1 and number == 0):
                tally.fault(f"{len(winners)} of {options.at_once} jobs succeeded")
            for one in ended:
                if one.code != 0:
                    clean_failure(tally, one, "second job")
            if status(Path("job")) != "finished" or content(Path("job"))[MAPS[name]] != right:
                tally.loss("the result is not whole")
        left = sorted(path.name for path in Path().iterdir())
        if left != ["data", "job", "right"]:
            tally.fault(f"left over: {left}")
    print(tally.row())


if __name__ == "__main__":
    main()
