"""Where the time of one E+M pass goes, and how near the E-step is to the machine's GEMM rate.

    python benchmarks/roofline.py [--images 300] [--repeats 5] [--device cpu]

Random images, box 64, 16 rings, a 15-degree grid, 29 shifts: each stage is run by itself on the
same tensors and the median of its times taken.  The arithmetic counted is that of the matrix
products with the frequencies that exist (not the padding of the folded residues).  Writes
benchmarks/results/roofline.csv.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from machine import gemm_rate, synchronise

import vitreous
from vitreous.kernels.angular import backproject
from vitreous.math.so3 import orientation_grid
from vitreous.math.symmetry import point_group
from vitreous.physics.polar import PolarGrid, bandwidth_for
from vitreous.physics.project import map_to_cube, shift_phase
from vitreous.reconstruct.insert import empty_accumulator, insert
from vitreous.reconstruct.solve import solve
from vitreous.search.expectation import (
    TILE_SCORES,
    direction_points,
    operands_for,
    references,
    tile_log_weight,
    tile_size,
    tile_spectra,
    turns_for,
)
from vitreous.search.grid import shift_grid
from vitreous.search.posterior import posterior

BOX, RINGS, SUPPORT = 64, 16, 0.85


def median_time(run: Callable[[], object], repeats: int, device: torch.device) -> float:
    times = []
    for _ in range(repeats + 1):
        synchronise(device)
        began = time.perf_counter()
        run()
        synchronise(device)
        times.append(time.perf_counter() - began)
    return statistics.median(times[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    device, count, repeats = (
        torch.device(arguments.device),
        arguments.images,
        arguments.repeats,
    )
    torch.manual_seed(0)
    bandwidth = bandwidth_for(RINGS, SUPPORT)
    polar = PolarGrid(RINGS, 2 * bandwidth + 2, bandwidth)
    grid = orientation_grid(2, point_group("C1"))
    shifts = shift_grid(6, 2).to(device)
    volume = torch.randn(1, BOX, BOX, BOX, device=device) * 0.02
    cube = map_to_cube(volume, RINGS + 1)
    refs = references(cube, grid, polar)
    n_psi, directions, n_shifts = refs.n_psi, len(grid.directions), len(shifts)
    tile = tile_size(refs, directions, n_shifts, TILE_SCORES, pruned=False)
    image = torch.randn(tile, RINGS, polar.half, dtype=torch.complex64, device=device)
    contrast = torch.rand(tile, RINGS, polar.half, device=device)
    phases = shift_phase(polar.points(device), shifts, BOX).permute(2, 1, 0)
    flat, prior = torch.ones(RINGS, device=device), torch.zeros(directions, device=device)
    operands, turns = operands_for(refs, flat, prior), turns_for(refs)

    def transform() -> tuple[list[torch.Tensor], torch.Tensor]:
        return tile_spectra(image, contrast, phases, refs.bases)

    spectra, squared = transform()

    def score() -> torch.Tensor:
        return tile_log_weight(operands, spectra, squared, turns)

    log_weight = score()
    map_of = torch.zeros(directions, dtype=torch.long, device=device)
    probability, _ = posterior(log_weight.clone(), map_of, 1)

    def accumulate() -> list[torch.Tensor]:
        sums = backproject(probability.flatten(2), spectra, turns.back, refs.bases)
        return sums + backproject(probability.sum(-1), [squared], turns.even_back, refs.bases[:1])

    points = direction_points(grid.directions, polar, device).reshape(-1, 3)
    values = torch.randn(1, len(points), dtype=torch.complex64, device=device)
    total = empty_accumulator(1, RINGS + 1, 2, device)
    insert(total, points, values, values.abs())
    tiles = count / tile
    stages = {
        "gather": (1.0, lambda: references(map_to_cube(volume, RINGS + 1), grid, polar)),
        "transform": (tiles, transform),
        "score": (tiles, score),
        "posterior": (tiles, lambda: posterior(log_weight.clone(), map_of, 1)),
        "accumulate": (tiles, accumulate),
        "insert": (1.0, lambda: insert(total, points, values, values.abs())),
        "solve": (1.0, lambda: solve(total, None, BOX, RINGS)),
    }
    # One image: a product with every slice for every shift, then frequencies to angles.
    frequencies = bandwidth + 1
    product = 2 * frequencies * 2 * RINGS * 2 * directions * n_shifts
    turning = 2 * n_psi * turns.on.shape[1] * directions * n_shifts
    flops = {"score": product + turning, "accumulate": product + turning}
    peak = gemm_rate(device)
    seconds = {name: n * median_time(run, repeats, device) for name, (n, run) in stages.items()}
    peak = (peak + gemm_rate(device)) / 2
    everything = sum(seconds.values())
    e_step = sum(seconds[name] for name in ("transform", "score", "posterior"))
    rows = []
    for name, spent in seconds.items():
        rate = flops[name] * count / spent / 1e9 if name in flops else float("nan")
        rows.append([name, spent, spent / everything, rate, rate / peak])
    rate = flops["score"] * count / e_step / 1e9
    rows.append(["E-step in all", e_step, e_step / everything, rate, rate / peak])
    both = e_step + seconds["accumulate"]
    rate = 2 * flops["score"] * count / both / 1e9
    rows.append(["E-step and accumulation", both, both / everything, rate, rate / peak])
    rows.append(["GEMM probe", float("nan"), float("nan"), peak, 1.0])
    target = Path(__file__).parent / "results" / f"roofline_{device.type}.csv"
    with target.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["stage", "seconds", "share_of_time", "GFLOP_s", "share_of_GEMM", "images"])
        for name, *figures in rows:
            writer.writerow([name, *(f"{figure:.4g}" for figure in figures), count])
        writer.writerow([f"vitreous {vitreous.__version__}, torch {torch.__version__}"])
    print(target.read_text())


if __name__ == "__main__":
    main()
