"""The measure of the machine that benchmarks put beside their times."""

from __future__ import annotations

import os
import resource
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


def timed(command: str, folder: Path, log: Path) -> dict[str, float]:
    """Run a command; wall and CPU seconds, peak memory (the largest child so far), GEMM rates."""
    before, used = gemm_rate(), resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    with log.open("w") as file:
        subprocess.run(shlex.split(command), cwd=folder, stdout=file, stderr=file, check=True)
    wall = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime
    return {
        "wall_s": wall,
        "cpu_s": cpu,
        "peak_MB": after.ru_maxrss / 1024,
        "gemm_before": before,
        "gemm_after": gemm_rate(),
    }


def vitreous(*arguments: str) -> list[str]:
    """The command line of a job."""
    return [sys.executable, "-m", "vitreous", *arguments]


def run_alone(command: list[str], log: Path) -> dict[str, object]:
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
