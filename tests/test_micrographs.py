"""One step of the work on micrographs: failures told, records kept, workers lost and replaced."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from signal import SIGKILL
from typing import Any

import pytest

from vitreous.errors import InputError, Interrupted
from vitreous.io.atomic import write_text
from vitreous.runs.folder import ignore, job_folder
from vitreous.runs.micrographs import Outcome, Step, Task, process_micrographs
from vitreous.runs.replacement import foreign


@dataclass(frozen=True)
class Options:
    out: Path
    overwrite: bool = False
    resume: bool = False
    workers: int = 1
    scale: int = 2


def doubled(scale: int, out: Path, number: int) -> dict[str, Any]:
    if number == 3:
        raise InputError("is empty, expected frames", where="m3", hint="copy it again")
    if number == 5:
        os.kill(os.getpid(), SIGKILL)
    if number == 6:
        raise RuntimeError("no such thing")
    write_text(out / f"m{number}.txt", str(scale * number))
    return {"value": scale * number, "threads": os.environ.get("OMP_NUM_THREADS")}


def run(options: Options, numbers: list[int], on_event: Any = ignore) -> Outcome:
    with job_folder("step", options, on_event) as job:
        work = partial(doubled, options.scale, job.path)
        tasks = [Task(f"m{n}", n, (f"m{n}.txt",), "1") for n in numbers]
        step = Step("doubling", options, options.workers)
        return process_micrographs(job, work, tasks, step)


def test_what_fails_is_told_and_the_others_go_on(tmp_path: Path) -> None:
    events: list[Any] = []
    found = run(Options(tmp_path / "job", workers=2), [0, 1, 3, 5, 6, 7], events.append)
    assert {name: r["value"] for name, r in found.records.items()} == {"m0": 0, "m1": 2, "m7": 14}
    assert {r["threads"] for r in found.records.values()} == {"1"}
    assert list(found.failures) == ["m3", "m5", "m6"]
    assert found.failures["m3"] == "m3: is empty, expected frames; copy it again"
    assert "SIGKILL" in found.failures["m5"] and "RuntimeError" in found.failures["m6"]
    assert found.warnings[0].startswith("3 of 6 failed")
    assert [e["iteration"] for e in events] == [1, 2, 3, 4, 5, 6]
    assert not foreign(tmp_path / "job"), "the log knows every file"


def test_a_resumed_job_does_the_rest_and_what_is_new(tmp_path: Path) -> None:
    out = tmp_path / "job"
    run(Options(out), [0, 1, 2, 3])
    ledger = out / "micrographs.jsonl"
    ledger.write_text(ledger.read_text() + '{"name": "m9", "st')  # as a killed process leaves it
    (out / "m2.txt").unlink()
    (out / "m1.txt").write_text("kept")
    seen: list[Any] = []
    found = run(Options(out, resume=True, workers=1), [0, 1, 2, 4], seen.append)
    done = [event["name"] for event in seen if event["event"] == "micrograph"]
    assert done == ["m2", "m4"] and list(found.records) == ["m0", "m1", "m2", "m4"]
    assert (out / "m1.txt").read_text() == "kept"
    lines = [json.loads(line) for line in ledger.read_text().splitlines()[1:]]
    assert [line["name"] for line in lines] == ["m0", "m1", "m2", "m4"]
    with pytest.raises(InputError, match="made with other options"):
        run(Options(out, resume=True, scale=3), [0])


def test_an_interruption_keeps_what_is_done(tmp_path: Path) -> None:
    def stop(event: Any) -> None:
        if event.get("iteration") == 2:
            raise Interrupted(2)

    with pytest.raises(Interrupted) as caught:
        run(Options(tmp_path / "job"), [0, 1, 2], stop)
    assert caught.value.again == "--resume"
    assert list(run(Options(tmp_path / "job", resume=True), [0, 1, 2]).records) == [
        "m0",
        "m1",
        "m2",
    ]


def test_if_all_fail_so_does_the_job(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="all 1 failed, the first by: m3: is empty"):
        run(Options(tmp_path / "job"), [3])
