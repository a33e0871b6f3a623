"""The measure of the machine that benchmarks put beside their times."""

from __future__ import annotations

import time

import torch


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
