"""The measure of the machine that benchmarks put beside their times."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

import torch

from vitreous import __version__


def version() -> str:
    """Version of the package, and the commit that this clone is at."""
    command = ("git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD")
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return f"{__version__} {found.stdout.strip()}".strip()


def synchronise(device: torch.device) -> None:
    """Wait for what a GPU was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def gemm_rate(device: torch.device | None = None) -> float:
    """GFLOP/s of a float32 product of 2048 x 2048 matrices, the best of several."""
    device = device or torch.device("cpu")
    a = torch.randn(2048, 2048, device=device)
    times = []
    for _ in range(6):
        synchronise(device)
        began = time.perf_counter()
        a @ a
        synchronise(device)
        times.append(time.perf_counter() - began)
    return 2 * 2048**3 / min(times) / 1e9


def vitreous(*arguments: object) -> list[str]:
    """The command line of a job."""
    return [sys.executable, "-m", "vitreous", *map(str, arguments)]


def run_alone(command: list[str], log: Path, folder: Path | None = None) -> dict[str, object]:
    """Times and peak memory of a process; its last words if it stops.

    Parameters
    ----------
    command : list of str
    log : Path
        File of all that it says.
    folder : Path, optional
        Where it runs.
    """
    began = time.perf_counter()
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, cwd=folder)
        _, status, used = os.wait4(process.pid, 0)
    words = log.read_text().strip().splitlines() or ["no word"]
    return {
        "wall_s": time.perf_counter() - began,
        "cpu_s": used.ru_utime + used.ru_stime,
        "peak_GB": used.ru_maxrss * 1024 / 1e9,
        "stopped": words[-1] if status else "",
    }


def measured(command: list[str], log: Path, folder: Path | None = None) -> dict[str, float]:
    """Times and peak memory of a process, which must not stop."""
    figures = run_alone(command, log, folder)
    if figures.pop("stopped"):
        raise SystemExit(f"{shlex.join(command)}\n{log.read_text()}")
    return figures


def timed(command: str, log: Path, folder: Path | None = None) -> dict[str, float]:
    """The same, with the rate of a matrix product before and after."""
    before = gemm_rate()
    figures = measured(shlex.split(command), log, folder)
    return {**figures, "gemm_before": before, "gemm_after": gemm_rate()}
