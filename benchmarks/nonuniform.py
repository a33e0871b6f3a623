"""Non-uniform regularisation beside the spherical: a core, and a part that differs in every image.

    python benchmarks/nonuniform.py [--images 1000] [--snr 0.15] [--seeds 5]

Each image shows the same core and, beside it, a ball of residues placed anew (or, as a control,
the same ball always).  Both refinements begin from the same poses, off by 3 degrees and 3 A, with
the mean map at 40 A.  What is compared is the mean of the half-maps with the core alone, inside a
mask of the core, and the poses.  Writes benchmarks/results/nonuniform.csv.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import torch
from rows import write_rows
from scipy.spatial.transform import Rotation
from torch import Tensor

from vitreous.config.refine import RefineConfig
from vitreous.config.simulate import SimulateConfig
from vitreous.engine.images import optics_of
from vitreous.imaging.ctf import Defocus
from vitreous.imaging.envelope import mask_above
from vitreous.imaging.project import map_to_cube
from vitreous.imaging.simulate import Views, clean_images, noisy
from vitreous.io.mrc import read_map, stack_writer, write_map
from vitreous.io.star import read_star, write_star
from vitreous.jobs.refine.refine import run_refine
from vitreous.jobs.simulate import simulate_from
from vitreous.math.gaussians import gaussian_sum
from vitreous.math.rotations import angular_distance, matrix_to_euler
from vitreous.particles.files import read_particles, write_particles
from vitreous.particles.poses import Poses, read_poses
from vitreous.runs.folder import ignore
from vitreous.validate.fsc import fsc, resolution_at

BOX, PIXEL, WIDTH = 48, 4.0, 3.2
CORE, LOOSE = ((-28.0, 0.0, 0.0), 26.0, 500), ((24.0, 0.0, 0.0), 36.0, 1300)
"""Centre and radius in angstrom, and residues: most of what is seen is loose, as in a micelle."""

RESULTS = Path(__file__).parent / "results" / "nonuniform.csv"
FIELDS = (
    *("part", "regulariser", "seed", "images", "snr", "reported_a", "core_a_fsc_0.5"),
    *("core_mean_fsc", "median_error_deg", "median_error_a"),
)


def ball(centre: tuple[float, ...], radius: float, count: int, seed: int) -> Tensor:
    """Density of residues at random in a ball."""
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(count, 3))
    points *= (
        radius * rng.uniform(size=(count, 1)) ** (1 / 3) / np.linalg.norm(points, axis=1)[:, None]
    )
    return gaussian_sum(np.array(centre) + points, np.ones(count), WIDTH, BOX, PIXEL)


def simulated(folder: Path, count: int, snr: float, seed: int, *, loose: bool) -> Tensor:
    """Write particles.star (poses off a little), true.star and mean.mrc; returns the core."""
    core = ball(*CORE, seed=1)
    conformations = 100 if loose else 1
    parts = torch.stack([ball(*LOOSE, seed=2 + c) for c in range(conformations)])
    mean = core + parts.mean(dim=0)
    options = SimulateConfig(Path("mean"), out=folder / "data", n=count, snr=snr, seed=seed)
    star = simulate_from(lambda: (mean, PIXEL), options, ignore)
    table = read_particles(star)
    poses, optics = read_poses(table), optics_of(table.optics[0])
    columns = (table.defocus_u, table.defocus_v, table.defocus_angle, table.phase_shift)
    views = Views(
        torch.from_numpy(poses.matrices),
        torch.from_numpy(poses.origins / PIXEL).float(),
        Defocus(*(torch.from_numpy(np.asarray(c)).float() for c in columns)),
    )
    clean = torch.zeros(count, BOX, BOX)
    for number, part in enumerate(parts):
        some = slice(number, None, conformations)
        cube = map_to_cube((core + part)[None], BOX // 2, 2)
        clean[some] = clean_images(cube, views.take(some), optics, BOX, PIXEL)
    variance = float(clean.var(dim=(1, 2)).mean())
    images = noisy(clean, variance, snr, torch.Generator().manual_seed(seed))
    with stack_writer(folder / "data" / "loose.mrcs", BOX, count, PIXEL) as file:
        file.append(images.numpy())
    blocks = read_star(star)
    names = pl.Series([f"{n:06d}@loose.mrcs" for n in range(1, count + 1)])
    frame = blocks["particles"].frame.with_columns(rlnImageName=names)
    blocks["particles"] = blocks["particles"].with_frame(frame)
    write_star(folder / "data" / "true.star", blocks.values())
    rng = np.random.default_rng(seed)
    off = Rotation.from_rotvec(np.radians(3 * rng.normal(size=(count, 3)))).as_matrix()
    angles = matrix_to_euler(torch.from_numpy(off @ poses.matrices)).numpy()
    origins = poses.origins + 3 * rng.normal(size=(count, 2))
    table = read_particles(folder / "data" / "true.star")
    posed = table.with_fields(**Poses(angles, origins).fields)
    write_particles(folder / "data" / "particles.star", posed)
    write_map(folder / "mean.mrc", mean.numpy(), PIXEL)
    return core


def refined(folder: Path, core: Tensor, regulariser: str) -> dict[str, object]:
    """One refinement, and how near its core is to the truth."""
    config = RefineConfig(
        folder / "data" / "particles.star",
        reference=folder / "mean.mrc",
        out=folder / regulariser,
        mask_diameter=150.0,
        local_search=3.75,
        check=False,
    )
    job = run_refine(replace(config, regulariser=regulariser))
    halves = [torch.from_numpy(read_map(job / f"half{n}.mrc")[0]) for n in (1, 2)]
    mask = mask_above(core, 0.05 * float(core.max()), 1.0, 3.0)
    curve = fsc((halves[0] + halves[1]) * mask, core * mask).numpy()
    found, true = (
        read_poses(read_particles(star))
        for star in (job / "particles.star", folder / "data" / "true.star")
    )
    turned = angular_distance(torch.from_numpy(found.matrices), torch.from_numpy(true.matrices))
    return {
        "regulariser": regulariser,
        "reported_a": json.loads((job / "result.json").read_text())["resolution_0143_interpolated"],
        "core_a_fsc_0.5": resolution_at(curve, 0.5, BOX, PIXEL),
        "core_mean_fsc": float(curve[1 : BOX // 2].mean()),
        "median_error_deg": float(turned.median()),
        "median_error_a": float(np.median(np.linalg.norm(found.origins - true.origins, axis=1))),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--snr", type=float, default=0.15)
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    rows: list[dict[str, object]] = []
    for seed in range(arguments.seeds):
        for loose in (True, False):
            with tempfile.TemporaryDirectory() as name:
                folder = Path(name)
                core = simulated(folder, arguments.images, arguments.snr, seed, loose=loose)
                for regulariser in ("spherical", "nonuniform"):
                    row = {"part": "loose" if loose else "rigid", "seed": seed}
                    row |= {"images": arguments.images, "snr": arguments.snr}
                    rows.append(row | refined(folder, core, regulariser))
                    print(rows[-1], flush=True)
                    write_rows(RESULTS, FIELDS, rows)


if __name__ == "__main__":
    main()
