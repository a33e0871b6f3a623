"""Refinement beside RELION's auto-refine: the same stack, reference, halves and cores.

    python benchmarks/refine_beside_relion.py --model MODEL.pdb --work FOLDER
        [--name pol2] [--symmetry C1] [--pixel-size 4] [--diameter 200] [--repeats 3]
        [--keep-relion]

Simulates 3,000 particles (box 64, SNR 0.1) and refines them, without their poses, from the true map
cut at 40 A, with ``relion_refine_mpi --auto_refine`` once (one leader, one process a half) and
``vitreous refine`` several times.  Resolutions are those of the unfiltered half-maps by one
program, ``vitreous postprocess`` with one mask, and of their mean against the truth; poses are
compared with the true ones after turning all by the mean difference.  The rows of
benchmarks/results/refine.csv with the same ``--name`` are replaced.  A matrix product before and
after each run measures the machine.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from machine import timed
from rows import replace_rows
from scipy.spatial.transform import Rotation
from stacks import without_poses

import vitreous
from vitreous.io.mrc import read_map
from vitreous.jobs.config.simulate import SimulateConfig
from vitreous.jobs.maps.half_maps import open_half_maps
from vitreous.jobs.maps.postprocess import judge_half_maps
from vitreous.jobs.simulate import run_simulate
from vitreous.math.symmetry import point_group
from vitreous.particles.poses import read_poses
from vitreous.particles.table import read_particles
from vitreous.validate.fsc import fsc, resolution_at

RESULTS = Path(__file__).parent / "results" / "refine.csv"
RELION = (
    "mpirun --allow-run-as-root --oversubscribe --mca mpi_yield_when_idle 1 -n 3 "
    "relion_refine_mpi --o {out}/run --auto_refine "
    "--split_random_halves --i unposed.star --ref truth.mrc --firstiter_cc --ini_high 40 --ctf "
    "--particle_diameter {diameter:g} --flatten_solvent --zero_mask --oversampling 1 "
    "--healpix_order 2 --auto_local_healpix_order 4 --offset_range 5 --offset_step 2 "
    "--sym {symmetry} --low_resol_join_halves 40 --norm --scale --j 1 --pad 2 "
    "--dont_combine_weights_via_disc --preread_images --pool 30 --random_seed 1"
)
OURS = (
    "{python} -m vitreous refine unposed.star --reference truth.mrc --out {out} "
    "--mask-diameter {diameter:g} --symmetry {symmetry}"
)
FIELDS = (
    *("name", "program", "version", "wall_s", "cpu_s", "fsc0143_A", "shell_0143", "fsc05_truth_A"),
    *("median_angle", "share_beyond_10", "median_shift_A", "peak_MB", "gemm_before"),
    *("gemm_after", "wall_ratio", "cpu_ratio"),
)


def pose_errors(found: Path, truth: Path, symmetry: str) -> dict[str, float]:
    """How far the poses lie from the true ones, up to a turn and shift of the whole."""
    ours, theirs = (read_poses(read_particles(path, need_images=False)) for path in (found, truth))
    mates = point_group(symmetry).numpy()
    turns = np.einsum("nji,sjk,nkl->nsil", ours.matrices, np.eye(3)[None], theirs.matrices)
    turns = np.einsum("nij,sjk->nsik", turns[:, 0], mates)
    mean = Rotation.identity()
    for _ in range(5):
        angles = (Rotation.from_matrix(turns.reshape(-1, 3, 3)) * mean.inv()).magnitude()
        angles = np.degrees(angles).reshape(len(turns), -1)
        nearest = turns[np.arange(len(turns)), angles.argmin(axis=1)]
        close = angles.min(axis=1) <= np.median(angles.min(axis=1))
        mean = Rotation.from_matrix(nearest[close]).mean()
    difference = ours.origins - theirs.origins
    rows = theirs.matrices[:, :2].reshape(-1, 3)
    shift = np.linalg.lstsq(rows, difference.reshape(-1), rcond=None)[0]
    left = np.linalg.norm(difference - theirs.matrices[:, :2] @ shift, axis=1)
    return {
        "median_angle": float(np.median(angles.min(axis=1))),
        "share_beyond_10": float((angles.min(axis=1) > 10).mean()),
        "median_shift_A": float(np.median(left)),
    }


def map_quality(half1: Path, half2: Path, mask: Path, truth: Path) -> dict[str, float]:
    """Resolutions of two unfiltered half-maps, and of their mean against the truth."""
    halves = open_half_maps(half1, half2, mask=mask)
    found = judge_half_maps(halves).record["resolution_0143"] or float("nan")
    inside = halves.mask.volume
    known = torch.from_numpy(read_map(truth)[0])
    curve = fsc(halves.mean * inside, known * inside).numpy()
    return {
        "fsc0143_A": found,
        "shell_0143": halves.box * halves.pixel_size / found,
        "fsc05_truth_A": resolution_at(curve, 0.5, halves.box, halves.pixel_size) or float("nan"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--name", default="pol2")
    parser.add_argument("--symmetry", default="C1")
    parser.add_argument("--pixel-size", type=float, default=4.0)
    parser.add_argument("--diameter", type=float, default=200.0)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--keep-relion", action="store_true")
    arguments = parser.parse_args()
    work = arguments.work.resolve()
    data, relion, kept = work / "data", work / "relion", work / "relion.json"
    choices = {"diameter": arguments.diameter, "symmetry": arguments.symmetry}
    if not (data / "particles.star").is_file():
        options = {"box": 64, "pixel_size": arguments.pixel_size}
        run_simulate(SimulateConfig(arguments.model, out=data, **options))
    without_poses(data / "particles.star")
    rows = []
    for repeat in range(arguments.repeats):
        out = work / f"ours{repeat}"
        shutil.rmtree(out, ignore_errors=True)
        command = OURS.format(python=sys.executable, out=out, **choices)
        figures = timed(f"{command} --seed {repeat}", data, work / f"ours{repeat}.log")
        figures |= map_quality(
            out / "half1.mrc", out / "half2.mrc", work / "ours0" / "mask.mrc", data / "truth.mrc"
        )
        figures |= pose_errors(out / "particles.star", data / "particles.star", arguments.symmetry)
        rows.append({"program": "vitreous refine", "version": vitreous.__version__, **figures})
    if not (arguments.keep_relion and kept.is_file()):
        shutil.rmtree(relion, ignore_errors=True)
        relion.mkdir()
        figures = timed(RELION.format(out=relion, **choices), data, work / "relion.log")
        figures |= map_quality(
            relion / "run_half1_class001_unfil.mrc",
            relion / "run_half2_class001_unfil.mrc",
            work / "ours0" / "mask.mrc",
            data / "truth.mrc",
        )
        shutil.copy(relion / "run_data.star", data / "relion_data.star")
        figures |= pose_errors(
            data / "relion_data.star", data / "particles.star", arguments.symmetry
        )
        asked = subprocess.run(["relion_refine", "--version"], capture_output=True, text=True)
        version = asked.stdout.split("\n")[0].strip()
        kept.write_text(json.dumps({"program": "relion_refine_mpi", "version": version, **figures}))
    peer = json.loads(kept.read_text())
    for key in ("wall", "cpu"):
        ours = statistics.median(row[f"{key}_s"] for row in rows)
        peer[f"{key}_ratio"] = peer[f"{key}_s"] / ours
    replace_rows(RESULTS, FIELDS, [*rows, peer], {"name": arguments.name})


if __name__ == "__main__":
    main()
