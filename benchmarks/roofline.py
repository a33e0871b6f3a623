"""Where the time of one E+M pass goes, and how near the E-step is to the machine's GEMM rate.

    python benchmarks/roofline.py [--images 300] [--repeats 5] [--precision auto] [--device cpu]

Box 64, 16 rings, a 15-degree grid, 29 shifts, random images: each stage is run by itself on every
core at once, on a tile each, as a pass does, and the median of its times taken.  Only columns that
matter are backprojected; their share is a row.  In a search nearly all of them fall away after a
few iterations: the row "accumulate, sharp posterior" is the same with one in twenty left.

The arithmetic counted is that which is done, for pairs of frequency and ring that exist.  Two more
rows say at what rate the work that it replaces would have to run to take as long: every frequency
on every ring and each in-plane angle by itself, and the design's products over pixels.  Writes
benchmarks/results/roofline_*.csv.
"""

from __future__ import annotations

import argparse
import csv
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from machine import gemm_rate, synchronise

import vitreous
from vitreous.engine.searches.grid import direction_points, operands_for, references
from vitreous.engine.searches.sampling import shift_grid
from vitreous.engine.searches.tiles import (
    TILE_SCORES,
    tile_products,
    tile_size,
    tile_spectra,
    tile_sums,
)
from vitreous.imaging.polar import polar_grid
from vitreous.imaging.project import map_to_cube, shift_phase
from vitreous.math.so3 import orientation_grid
from vitreous.math.symmetry import point_group
from vitreous.ops.angular import psi_matrix
from vitreous.ops.precision import product_dtype
from vitreous.ops.scratch import Scratch
from vitreous.ops.threads import side_by_side, workers_on
from vitreous.ops.weights import weigh
from vitreous.reconstruct.accumulator import empty_accumulator, insert
from vitreous.reconstruct.solve import solve

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
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    device, count, repeats = torch.device(arguments.device), arguments.images, arguments.repeats
    dtype, workers = product_dtype(device, arguments.precision), workers_on(device)
    torch.manual_seed(0)
    polar = polar_grid(RINGS, SUPPORT)
    grid, shifts = orientation_grid(2, point_group("C1")), shift_grid(6, 2).to(device)
    directions, n_shifts = len(grid.directions), len(shifts)
    volume = torch.randn(1, BOX, BOX, BOX, device=device) * 0.02
    refs = references(map_to_cube(volume, RINGS + 1), grid, polar)
    prior = torch.zeros(directions, device=device)
    operands = operands_for(refs, torch.ones(RINGS, device=device), prior, dtype).filled()
    on = psi_matrix(refs.bases)
    tile = tile_size(count, refs.n_psi * directions * n_shifts, TILE_SCORES, workers)
    phases = shift_phase(polar.points(device), shifts, BOX)
    shape = (tile, RINGS, polar.half)
    images = torch.randn(workers, *shape, dtype=torch.complex64, device=device)
    contrast = torch.rand(workers, *shape, device=device)
    scratches = [Scratch(dtype, device) for _ in range(workers)]

    def spectra(w: int) -> tuple[list[torch.Tensor], torch.Tensor]:
        return tile_spectra(images[w], contrast[w], phases, refs.bases, scratches[w])

    made = [spectra(w) for w in range(workers)]

    def score(w: int) -> tuple[torch.Tensor, torch.Tensor]:
        return tile_products(operands, *made[w], scratches[w], "products")

    products = [score(w) for w in range(workers)]

    def posterior(w: int) -> object:
        return weigh(*products[w], on, back=False)

    turned = [tuple(part.clone() for part in products[w]) for w in range(workers)]
    weighed = [weigh(*turned[w], on, back=True) for w in range(workers)]
    kept, whole = n_shifts * tile // 20, torch.ones(tile, device=device)
    sharp = [replace(w, columns=w.columns[:kept], scale=w.scale[:kept]) for w in weighed]

    def turn_back(w: int) -> object:
        # Restored each time, as weighing overwrites: below, the same without it is taken off.
        copies = [part.clone() for part in products[w]]
        return weigh(*copies, on, back=True)

    def weigh_only(w: int) -> object:
        copies = [part.clone() for part in products[w]]
        return weigh(*copies, on, back=False)

    points = direction_points(grid.directions, polar, device).reshape(-1, 3)
    values = torch.randn(1, 1, len(points), dtype=torch.complex64, device=device)
    total, there = empty_accumulator(1, RINGS + 1, 2, device), torch.eye(3, device=device)[None]
    insert(total, points, there, values, values.abs())

    def tiled(stage: Callable[[int], object]) -> float:
        rounds = count / (tile * workers)
        return rounds * median_time(lambda: side_by_side(stage, workers), repeats, device)

    def once(stage: Callable[[], object]) -> float:
        return median_time(stage, repeats, device)

    peak = gemm_rate(device)
    seconds = {
        "gather": once(lambda: references(map_to_cube(volume, RINGS + 1), grid, polar)),
        "transform": tiled(spectra),
        "score": tiled(score),
        "posterior": tiled(posterior),
    }
    seconds["turn back"] = tiled(turn_back) - tiled(weigh_only)
    seconds["accumulate"] = tiled(lambda w: tile_sums(weighed[w], whole, *turned[w], *made[w]))
    sharp_time = tiled(lambda w: tile_sums(sharp[w], whole, *turned[w], *made[w]))
    seconds["insert"] = once(lambda: insert(total, points, there, values, values.abs()))
    seconds["solve"] = once(lambda: solve(total, None, BOX, RINGS))
    peak = (peak + gemm_rate(device)) / 2

    pairs = sum(band + 1 for band in polar.bands)
    # Half-ring samples to the coefficients of one parity, from their real and imaginary parts.
    analysis = sum(2 * basis.analyse.numel() for basis in refs.bases) * RINGS * n_shifts
    product = 2 * (2 * pairs) * (2 * directions) * n_shifts
    # Four angles share their sums over cosines and sines: a quarter of the angles, each residue.
    rotating = 2 * 2 * (refs.n_psi // 4 + 1) * (refs.n_psi // 2 + 1) * directions * n_shifts
    matters = sum(len(w.columns) for w in weighed) / (workers * tile * n_shifts)
    flops = {
        "transform": analysis,
        "score": product,
        "posterior": rotating,
        "turn back": rotating * matters,
        "accumulate": product * matters,
    }
    everything = sum(seconds.values())
    e_step = sum(seconds[name] for name in ("transform", "score", "posterior"))
    pixels = math.pi * RINGS**2 / 2
    direct = 2 * (2 * pixels) * refs.n_psi * directions * n_shifts
    rows = [
        [name, spent, spent / everything, flops.get(name, math.nan) * count / spent / 1e9]
        for name, spent in seconds.items()
    ]
    rows.append(["accumulate, sharp posterior", sharp_time, math.nan, math.nan])
    # The same result by every frequency on every ring, each angle by itself: without the savings.
    every = 2 * (2 * RINGS * (polar.bandwidth + 1)) * (2 * directions) * n_shifts
    every += 2 * refs.n_psi * on.shape[1] * directions * n_shifts
    for name, work in (
        ("E-step in all", analysis + product + rotating),
        ("E-step, as every frequency on every ring", analysis + every),
        ("E-step, as products over pixels", direct),
    ):
        rows.append([name, e_step, e_step / everything, work * count / e_step / 1e9])
    rows.append([f"columns that matter: {matters:.0%}", math.nan, math.nan, math.nan])
    rows.append(["GEMM probe, float32", math.nan, math.nan, peak])
    name = f"roofline_{device.type}_{str(dtype).removeprefix('torch.')}.csv"
    target = Path(__file__).parent / "results" / name
    with target.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["stage", "seconds", "share_of_time", "GFLOP_s", "share_of_GEMM", "images"])
        for stage, *figures in rows:
            cells = [f"{figure:.4g}" for figure in (*figures, figures[-1] / peak)]
            writer.writerow([stage, *cells, count])
        writer.writerow([f"vitreous {vitreous.__version__}, torch {torch.__version__}"])
    print(target.read_text())


if __name__ == "__main__":
    main()
