"""Reading and filling a Fourier cube: eager torch, torch.compile and numba.

    python benchmarks/compilers.py [--repeats 7]

As a pass does it at 16 rings and 15 degrees (192 directions).  torch.compile needs a C++ compiler
on the user's machine; where there is none its row says so.  Writes
benchmarks/results/compilers.csv.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

from vitreous.engine.searches.grid import direction_points
from vitreous.imaging.polar import polar_grid
from vitreous.imaging.project import FourierCube, cube_side, read_cube
from vitreous.math.so3 import orientation_grid
from vitreous.math.symmetry import point_group
from vitreous.ops import cubes

RINGS, PADDING = 16, 2


def timed(run: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Seconds of the first call and median of the others, in milliseconds."""
    began = time.perf_counter()
    run()
    first = time.perf_counter() - began
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    return first, 1e3 * statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    cpu, side = torch.device("cpu"), cube_side(RINGS + 1, PADDING)
    grid = orientation_grid(2, point_group("C1"))
    points = direction_points(grid.directions, polar_grid(RINGS, 0.85), cpu).reshape(-1, 3)
    shape = 1, side, side, side // 2 + 1
    cube = FourierCube(torch.randn(shape, dtype=torch.complex64), PADDING)
    samples = torch.randn(1, 1, len(points), dtype=torch.complex64)
    sums = torch.zeros_like(cube.data), torch.zeros(shape)
    filling = (*sums, points, PADDING * torch.eye(3)[None], samples, samples.abs())
    ways: dict[tuple[str, str], Callable[[], object]] = {
        ("read", "eager"): lambda: read_cube(cube, points),
        ("read", "numba"): lambda: cubes.read(cube, points),
        ("fill", "eager"): lambda: cubes.insert_eagerly(*filling),
        ("fill", "numba"): lambda: cubes.insert(*filling),
    }
    compiled_read, compiled_fill = torch.compile(read_cube), torch.compile(cubes.insert_eagerly)
    ways["read", "torch.compile"] = lambda: compiled_read(cube, points)
    ways["fill", "torch.compile"] = lambda: compiled_fill(*filling)
    rows = []
    for (what, way), run in ways.items():
        try:
            first, each = timed(run, arguments.repeats)
            rows.append([what, way, f"{first:.3g}", f"{each:.3g}"])
        except Exception as error:  # whatever a missing compiler raises belongs in the table
            rows.append([what, way, type(error).__name__, "nan"])
    target = Path(__file__).parent / "results" / "compilers.csv"
    with target.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["what", "way", "first_call_s", "each_ms"])
        writer.writerows(rows)
    print(target.read_text())


if __name__ == "__main__":
    main()
