"""Signals: one line, the exit code of shells, a checkpoint, and the same bits after --resume."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vitreous.cli.failures import line_of
from vitreous.config.abinit import AbinitConfig
from vitreous.errors import Interrupted
from vitreous.io.mrc import read_map
from vitreous.jobs.abinit.abinit import run_abinit
from vitreous.runs.log import LOG, read_events
from vitreous.runs.replacement import CHECKPOINT

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def command(*words: str) -> subprocess.Popen[str]:
    line = [sys.executable, "-m", "vitreous", *words]
    return subprocess.Popen(line, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)


def hears(process: subprocess.Popen[str], number: int) -> bool:
    """Whether a process has a handler of its own for a signal."""
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("SigCgt:"):
            return bool(int(line.split()[1], 16) >> (number - 1) & 1)
    return False


def events_of(job: Path) -> list[dict[str, Any]]:
    return read_events(job / LOG) if (job / LOG).is_file() else []


def processor_seconds(process: subprocess.Popen[str]) -> float:
    """That a process took so far: time on the clock hangs on what else the machine does."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def ended(process: subprocess.Popen[str], number: int) -> str:
    """The last line of a command that is sent a signal; it computes for 10 s more at most."""
    before = processor_seconds(process)
    process.send_signal(number)
    children = sum(os.times()[2:4])
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 128 + number, errors
    assert "Traceback" not in errors
    assert sum(os.times()[2:4]) - children - before < 10
    return errors.splitlines()[-1]


@pytest.mark.parametrize("number", SIGNALS)
def test_while_the_program_is_loaded(number: int, tmp_path: Path) -> None:
    process = command("check", str(tmp_path / "missing.star"))
    while not hears(process, signal.SIGTERM):
        time.sleep(0.001)
    assert f"interrupted by {signal.Signals(number).name}" in ended(process, number)


@pytest.mark.parametrize("number", SIGNALS)
def test_while_a_job_works(number: int, small_stack: Path, tmp_path: Path) -> None:
    out = tmp_path / "job"
    process = command("abinit", str(small_stack), "--out", str(out), "--write-every", "1")
    while not (out / CHECKPOINT).is_file():
        assert process.poll() is None
        time.sleep(0.05)
    line = ended(process, number)
    assert line.endswith(f"--out {out} --write-every 1 --resume")
    assert json.loads((out / "result.json").read_text())["status"] == "interrupted"
    assert not list(out.rglob("*.part"))


def test_job_without_checkpoints_says_nothing_of_resuming(tmp_path: Path) -> None:
    atoms = "ATOM      1  CA  ALA A   1       0.000   0.000   0.000  1.00 20.00           C\n"
    (tmp_path / "a.pdb").write_text(atoms)
    out = tmp_path / "data"
    words = ("simulate", str(tmp_path / "a.pdb"), "--out", str(out), "--n", "200000", "--box", "64")
    process = command(*words)
    while not list(out.glob(".*.part")):
        assert process.poll() is None
        time.sleep(0.05)
    line = ended(process, signal.SIGTERM)
    assert "--resume" not in line and "nothing was kept yet" in line
    assert line.endswith("--overwrite")
    assert {path.name for path in out.iterdir()} == {"log.jsonl", "result.json"}


@pytest.mark.slow
def test_while_refinement_tries_its_starts(small_stack: Path, tmp_path: Path) -> None:
    out, truth = tmp_path / "job", small_stack.with_name("truth.mrc")
    words = ("refine", str(small_stack), "--reference", str(truth), "--out", str(out), "--no-check")
    process = command(*words)
    while not any(event["event"] == "trial" for event in events_of(out)):
        assert process.poll() is None
        time.sleep(0.05)
    assert ended(process, signal.SIGTERM) == (
        "interrupted by SIGTERM; nothing was kept yet; begin anew with: "
        f"vitreous {' '.join(words)} --overwrite"
    )
    assert json.loads((out / "result.json").read_text())["status"] == "interrupted"


@pytest.mark.slow
def test_while_the_report_is_written(small_stack: Path, tmp_path: Path) -> None:
    code = (
        "import os, signal\n"
        "from vitreous.report import html\n"
        "def write(job): os.kill(os.getpid(), signal.SIGTERM)\n"
        "html.write_report = write\n"
        "from vitreous.cli import main; main()"
    )
    out = tmp_path / "job"
    words = [sys.executable, "-c", code, "reconstruct", str(small_stack), "--out", str(out)]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 128 + signal.SIGTERM
    assert done.stderr.splitlines()[-1] == (
        f"interrupted by SIGTERM; the results are whole and kept in {out}, the report may be "
        f"missing; for it, begin anew with: vitreous reconstruct {small_stack} --out {out} "
        "--overwrite"
    )
    assert json.loads((out / "result.json").read_text())["status"] == "finished"
    assert (out / "map.mrc").is_file()


def test_while_a_module_is_loaded_for_a_job_that_works(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(
        "import os, signal, time\n"
        "for number in (signal.SIGTERM, signal.SIGINT):\n"
        "    os.kill(os.getpid(), number); time.sleep(0.2)\n"
        "print('loaded')\n"
    )
    code = (
        "import sys, time\n"
        "from vitreous.errors import Interrupted\n"
        "from vitreous.interruption import raise_on_signals, work_begins\n"
        "raise_on_signals(); work_begins()\n"
        "try:\n    import slow; time.sleep(30)\n"
        "except Interrupted as error:\n    print('kept', error.number)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == ["loaded", "kept", str(int(signal.SIGTERM))]


@pytest.mark.parametrize("at", [2, 5])
@pytest.mark.slow
def test_abinit_goes_on_from_the_iteration_it_was_at(
    small_stack: Path, tmp_path: Path, at: int
) -> None:
    config = AbinitConfig(
        small_stack,
        out=tmp_path / "job",
        initial_iterations=3,
        between_iterations=3,
        final_iterations=1,
        angular_sampling=30.0,
        final_resolution=25.0,
        write_every=100,
        starts=1,
    )
    seen = []

    def interrupt(event: Mapping[str, Any]) -> None:
        if event["event"] == "iteration":
            seen.append(event["iteration"])
            if len(seen) == at:
                os.kill(os.getpid(), signal.SIGUSR1)

    def stop(number: int, _: object) -> None:
        raise Interrupted(number)

    former = signal.signal(signal.SIGUSR1, stop)
    try:
        with pytest.raises(Interrupted):
            run_abinit(config, interrupt)
    finally:
        signal.signal(signal.SIGUSR1, former)
    assert (config.out / CHECKPOINT).is_file()
    again: list[int] = []
    run_abinit(
        replace(config, resume=True),
        lambda event: again.append(event["iteration"]) if event["event"] == "iteration" else None,
    )
    assert again[0] == at + 1
    whole = run_abinit(replace(config, out=tmp_path / "whole"))
    maps = [read_map(job / "class001.mrc")[0] for job in (config.out, whole)]
    assert (maps[0] == maps[1]).all()


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError(), "memory ran out"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: 12 bytes"), "memory ran out"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "memory ran out"),
        (OSError(28, "No space left on device", "map.mrc"), "map.mrc: No space left on device"),
        (ImportError("libtorch.so: failed to map segment"), "give the program more memory"),
        (RuntimeError("a fault of ours"), None),
    ],
)
def test_what_is_said_of_the_machines_failures(error: Exception, words: str | None) -> None:
    line = line_of(error)
    assert line is None if words is None else line is not None and words in line
