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

import vitreous
from vitreous.kernels.angular import (
    analyse_images,
    analyse_real,
    backproject,
    correlation_operand,
    psi_matrix,
    scores,
)
from vitreous.math.so3 import orientation_grid
from vitreous.math.symmetry import point_group
from vitreous.physics.polar import PolarGrid, bandwidth_for
from vitreous.physics.project import map_to_cube, shift_phase
from vitreous.reconstruct.insert import empty_accumulator, insert
from vitreous.reconstruct.solve import solve
from vitreous.search.expectation import direction_points, references
from vitreous.search.grid import shift_grid
from vitreous.search.posterior import posterior

BOX, RINGS, SUPPORT = 64, 16, 0.85


def median_time(run: Callable[[], object], repeats: int, device: torch.device) -> float:
    times = []
    for _ in range(repeats + 1):
        if device.type == "cuda":
            torch.cuda.synchronize()
        began = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return statistics.median(times[1:])


def gemm_rate(device: torch.device) -> float:
    """GFLOP/s of a float32 product of 2048 x 2048 matrices."""
    a = torch.randn(2048, 2048, device=device)
    return 2 * 2048**3 / median_time(lambda: a @ a, 7, device) / 1e9


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
    tile = max(1, 3_000_000 // (n_psi * directions * n_shifts))
    image = torch.randn(tile, RINGS, polar.half, dtype=torch.complex64, device=device)
    contrast = torch.rand(tile, RINGS, polar.half, device=device)
    weight = 2 * torch.pi * polar.radii(device)
    phases = shift_phase(polar.points(device), shifts, BOX).permute(2, 1, 0)
    operands = [
        correlation_operand(part, weight, basis)
        for part, basis in zip(refs.slices, refs.bases, strict=True)
    ]
    power = correlation_operand(refs.power, -0.5 * weight, refs.bases[0])
    even = psi_matrix(refs.bases[0], n_psi)
    to_psi = torch.cat([even, psi_matrix(refs.bases[1], n_psi)], dim=1)
    back, even_back = to_psi.T.contiguous(), even.T.contiguous()

    def transform() -> tuple[list[torch.Tensor], torch.Tensor]:
        moved = (image * contrast).permute(2, 1, 0)[..., None] * phases[:, :, None, :]
        squared = analyse_real((contrast**2).permute(2, 1, 0), refs.bases[0])
        return analyse_images(moved.flatten(2), refs.bases), squared

    spectra, squared = transform()

    def score() -> torch.Tensor:
        norm = scores([power], [squared], even)
        cross = scores(operands, spectra, to_psi)
        return cross.view(n_psi, directions, tile, n_shifts).add_(norm[..., None])

    log_weight = score()
    map_of = torch.zeros(directions, dtype=torch.long, device=device)
    probability, _ = posterior(log_weight.clone(), map_of, 1)

    def accumulate() -> list[torch.Tensor]:
        sums = backproject(probability.flatten(2), spectra, back, refs.bases)
        return sums + backproject(probability.sum(-1), [squared], even_back, refs.bases[:1])

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
    turning = 2 * n_psi * to_psi.shape[1] * directions * n_shifts
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
