"""The smallest jobs that have checkpoints, and what the scripts here share."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from vitreous.config.simulate import SimulateConfig
from vitreous.imaging.phantom import built_in_phantom
from vitreous.jobs.simulate import simulate

JOBS: dict[str, tuple[str, ...]] = {
    "refine": (
        *("refine", "data/particles.star", "--reference", "data/truth.mrc", "--iterations", "3"),
        *("--local-search", "7.5", "--offset-range", "2", "--resolution-limit", "25"),
        *("--no-continuous", "--regulariser", "spherical", "--mask-diameter", "200"),
    ),
    "classify3d": (
        *("classify3d", "data/particles.star", "--reference", "data/truth.mrc", "--classes", "2"),
        *("--no-align", "--iterations", "4", "--resolution-limit", "25", "--mask-diameter", "200"),
    ),
    "abinit": (
        *("abinit", "data/particles.star", "--starts", "1", "--initial-iterations", "3"),
        *("--between-iterations", "3", "--final-iterations", "1", "--angular-sampling", "30"),
        *("--final-resolution", "25", "--write-every", "1", "--polish-passes", "1"),
        *("--mask-diameter", "200"),
    ),
}
"""Options of each, on 300 images of 32 px."""

MAPS = {"refine": "map.mrc", "classify3d": "class001.mrc", "abinit": "class001.mrc"}


@dataclass
class Tally:
    """A row of the table."""

    kind: str
    count: int = 0
    faults: int = 0
    losses: int = 0

    def fault(self, words: str) -> None:
        self.faults += 1
        print(f"FAULT: {words}", file=sys.stderr, flush=True)

    def loss(self, words: str) -> None:
        self.losses += 1
        print(f"LOSS: {words}", file=sys.stderr, flush=True)

    def row(self) -> str:
        command = " ".join(["python", f"benchmarks/reliability/{Path(sys.argv[0]).name}"])
        command = " ".join([command, *sys.argv[1:]])
        cells = (self.kind, self.count, self.faults, self.losses, f"`{command}`")
        return f"| {' | '.join(map(str, cells))} |"


@contextmanager
def workshop(*warm: str) -> Iterator[Path]:
    """A temporary folder with 300 images, as the current one; some jobs have run once."""
    with tempfile.TemporaryDirectory(prefix="reliability-") as name:
        os.chdir(name)
        config = SimulateConfig(Path("built-in"), out=Path("data"), n=300, snr=0.3, seed=3)
        simulate(built_in_phantom(32, 8.0), 8.0, config)
        for job in warm:
            load(job)
        yield Path(name)
        os.chdir("/")


@dataclass(frozen=True)
class Ended:
    """How a command ended: exit code (less than 0 for a signal) and what it said on stderr."""

    code: int
    errors: str


class Running:
    """The command in a process of its own."""

    def __init__(self, *words: str):
        line = [sys.executable, "-m", "vitreous", *words]
        self._process = subprocess.Popen(
            line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, errors="replace"
        )
        self.pid = self._process.pid

    def send(self, number: int) -> None:
        self._process.send_signal(number)

    def wait(self) -> Ended:
        said, _ = self._process.communicate()
        return Ended(self._process.returncode, said)


def run(*words: str) -> Ended:
    """Run the command to its end."""
    return Running(*words).wait()


def load(name: str) -> None:
    """Compile what the commands use, which is kept for those that follow."""
    ended = run(*JOBS[name], "--out", f"warm-{name}")
    assert ended.code == 0, ended.errors
    shutil.rmtree(f"warm-{name}")


def said(errors: str) -> list[str]:
    """Lines on standard error but for those of the progress."""
    marks = ("error:", "interrupted", "Traceback", "Exception", "Fatal")
    return [line for line in errors.splitlines() if line.startswith(marks)]


def content(folder: Path) -> dict[str, bytes]:
    """All files that a result consists of."""
    if not folder.is_dir():
        return {}
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def status(folder: Path) -> str | None:
    """What the folder's result.json says of the job."""
    path = folder / "result.json"
    return json.loads(path.read_text())["status"] if path.is_file() else None


def clean_failure(tally: Tally, ended: Ended, what: str) -> None:
    """Count a fault unless a command ended in one line and exit code 2."""
    lines = said(ended.errors)
    if ended.code != 2 or len(lines) != 1 or lines[0].startswith("Traceback"):
        tally.fault(f"{what}: exit code {ended.code}, {lines[-3:] or ended.errors[-300:]}")
