"""Refinement beside RELION's auto-refine: the same stack, reference, halves and cores.

    python benchmarks/refine_beside_relion.py --model MODEL.pdb --work FOLDER
        [--name pol2] [--symmetry C1] [--pixel-size 4] [--diameter 200] [--lowpass 40]
        [--images 3000] [--repeats 3] [--keep-relion]

Simulates particles (box 64, SNR 0.1) and refines them, without their poses, from the true map
cut at ``--lowpass``, with ``relion_refine_mpi --auto_refine`` once (one leader, one process a half)
and ``vitreous refine`` several times; both also reconstruct the halves from the true poses, as good
as can be had.  Resolutions are those of the unfiltered half-maps by one program, ``vitreous
postprocess`` with one mask, and of their mean against the truth; poses are compared with the true
ones after turning all by the mean difference.  The rows of benchmarks/results/refine.csv with the
same ``--name`` are replaced.  A matrix product before and after each run measures the machine.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from machine import timed, version
from rows import replace_rows
from scipy.spatial.transform import Rotation
from stacks import without_poses

from vitreous.config.simulate import SimulateConfig
from vitreous.io.mrc import read_map
from vitreous.jobs.maps.half_maps import open_half_maps
from vitreous.jobs.maps.postprocess import judge_half_maps
from vitreous.jobs.simulate import run_simulate
from vitreous.math.symmetry import point_group
from vitreous.particles.files import read_particles
from vitreous.particles.poses import Poses, read_poses
from vitreous.validate.fsc import fsc, resolution_at
from vitreous.validate.truth import mirrored

RESULTS = Path(__file__).parent / "results" / "refine.csv"
RELION = (
    "mpirun --allow-run-as-root --oversubscribe --mca mpi_yield_when_idle 1 -n 3 "
    "relion_refine_mpi --o {out}/run --auto_refine "
    "--split_random_halves --i unposed.star --ref truth.mrc --firstiter_cc "
    "--ini_high {lowpass:g} --ctf --particle_diameter {diameter:g} --flatten_solvent --zero_mask "
    "--oversampling 1 --healpix_order 2 --auto_local_healpix_order 4 --offset_range 5 "
    "--offset_step 2 --sym {symmetry} --low_resol_join_halves 40 --norm --scale --j 1 --pad 2 "
    "--dont_combine_weights_via_disc --preread_images --pool 30 --random_seed 1"
)
OURS = (
    "{python} -m vitreous refine unposed.star --reference truth.mrc --out {out} "
    "--mask-diameter {diameter:g} --symmetry {symmetry} --lowpass {lowpass:g} --seed {seed}"
)
KNOWN_OURS = (
    "{python} -m vitreous reconstruct particles.star --out {out} --halves column "
    "--symmetry {symmetry}"
)
KNOWN_RELION = (
    "relion_reconstruct --i particles.star --o {out}/half{half}.mrc --subset {half} --ctf "
    "--sym {symmetry}"
)
FIELDS = (
    *("name", "images", "program", "version", "wall_s", "cpu_s", "fsc0143_A", "shell_0143"),
    *("fsc05_truth_A", "hand", "median_angle", "share_beyond_10", "median_shift_A", "peak_GB"),
    *("gemm_before", "gemm_after", "wall_ratio", "cpu_ratio"),
)


def pose_errors(found: Path, truth: Path, symmetry: str) -> dict[str, object]:
    """How far the poses lie from the true ones, up to a turn, shift and hand of the whole.

    A reference that is its own mirror image leaves the hand to chance.
    """
    ours, theirs = (read_poses(read_particles(path, need_images=False)) for path in (found, truth))
    flip = np.diag([1.0, 1.0, -1.0])  # a mirrored map looks the same from poses mirrored with it
    hands = (
        {"hand": hand, **turned_errors(matrices, ours.origins, theirs, symmetry)}
        for hand, matrices in (("same", ours.matrices), ("mirrored", flip @ ours.matrices @ flip))
    )
    return min(hands, key=lambda errors: errors["median_angle"])


def turned_errors(
    matrices: np.ndarray, origins: np.ndarray, theirs: Poses, symmetry: str
) -> dict[str, float]:
    """The same of one hand."""
    mates = point_group(symmetry).numpy()
    turns = np.einsum("nji,njk,skl->nsil", matrices, theirs.matrices, mates)
    mean = Rotation.identity()
    for _ in range(5):
        angles = (Rotation.from_matrix(turns.reshape(-1, 3, 3)) * mean.inv()).magnitude()
        angles = np.degrees(angles).reshape(len(turns), -1)
        nearest = turns[np.arange(len(turns)), angles.argmin(axis=1)]
        close = angles.min(axis=1) <= np.median(angles.min(axis=1))
        mean = Rotation.from_matrix(nearest[close]).mean()
    difference = origins - theirs.origins
    rows = theirs.matrices[:, :2].reshape(-1, 3)
    shift = np.linalg.lstsq(rows, difference.reshape(-1), rcond=None)[0]
    left = np.linalg.norm(difference - theirs.matrices[:, :2] @ shift, axis=1)
    return {
        "median_angle": float(np.median(angles.min(axis=1))),
        "share_beyond_10": float((angles.min(axis=1) > 10).mean()),
        "median_shift_A": float(np.median(left)),
    }


def map_quality(half1: Path, half2: Path, work: Path) -> dict[str, float]:
    """Resolutions of two unfiltered half-maps, and of their mean against the truth."""
    halves = open_half_maps(half1, half2, mask=work / "ours0" / "mask.mrc")
    found = judge_half_maps(halves).record["resolution_0143"] or float("nan")
    inside = halves.mask.volume
    known = torch.from_numpy(read_map(work / "data" / "truth.mrc")[0])
    curves = [fsc(halves.mean * inside, hand * inside) for hand in (known, mirrored(known))]
    curve = max(curves, key=lambda curve: float(curve.sum())).numpy()
    return {
        "fsc0143_A": found,
        "shell_0143": halves.box * halves.pixel_size / found,
        "fsc05_truth_A": resolution_at(curve, 0.5, halves.box, halves.pixel_size) or float("nan"),
    }


def at_true_poses(work: Path, symmetry: str) -> list[dict[str, object]]:
    """Half-maps from the poses that the images were made with, by both programs."""
    data, out = work / "data", work / "known"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    ours = KNOWN_OURS.format(python=sys.executable, out=out / "ours", symmetry=symmetry)
    rows = [{"program": "vitreous reconstruct", **timed(ours, work / "known.log", data)}]
    halves = [KNOWN_RELION.format(out=out, half=half, symmetry=symmetry) for half in (1, 2)]
    command = shlex.join(["sh", "-c", " && ".join(halves)])
    rows.append({"program": "relion_reconstruct", **timed(command, work / "known.log", data)})
    for row, folder in zip(rows, (out / "ours", out), strict=True):
        row |= map_quality(folder / "half1.mrc", folder / "half2.mrc", work)
    return rows


def refined_by_us(work: Path, choices: dict[str, object], seed: int) -> dict[str, object]:
    """One run of ours, and what it came to."""
    data, out = work / "data", work / f"ours{seed}"
    shutil.rmtree(out, ignore_errors=True)
    command = OURS.format(python=sys.executable, out=out, seed=seed, **choices)
    figures = timed(command, work / f"ours{seed}.log", data)
    figures |= map_quality(out / "half1.mrc", out / "half2.mrc", work)
    figures |= pose_errors(out / "particles.star", data / "particles.star", choices["symmetry"])
    return {"program": "vitreous refine", "version": version(), **figures}


def refined_by_relion(work: Path, choices: dict[str, object]) -> dict[str, object]:
    """One run of RELION's, and what it came to."""
    data, out = work / "data", work / "relion"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    figures = timed(RELION.format(out=out, **choices), work / "relion.log", data)
    halves = (out / f"run_half{half}_class001_unfil.mrc" for half in (1, 2))
    figures |= map_quality(*halves, work)
    shutil.copy(out / "run_data.star", data / "relion_data.star")
    figures |= pose_errors(data / "relion_data.star", data / "particles.star", choices["symmetry"])
    asked = subprocess.run(["relion_refine", "--version"], capture_output=True, text=True)
    version = asked.stdout.split("\n")[0].strip()
    return {"program": "relion_refine_mpi", "version": version, **figures}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--name", default="pol2")
    parser.add_argument("--symmetry", default="C1")
    parser.add_argument("--pixel-size", type=float, default=4.0)
    parser.add_argument("--diameter", type=float, default=200.0)
    parser.add_argument("--lowpass", type=float, default=40.0)
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--keep-relion", action="store_true")
    arguments = parser.parse_args()
    work = arguments.work.resolve()
    data, kept = work / "data", work / "relion.json"
    choices = {name: getattr(arguments, name) for name in ("diameter", "symmetry", "lowpass")}
    if not (data / "particles.star").is_file():
        options = {"n": arguments.images, "box": 64, "pixel_size": arguments.pixel_size}
        run_simulate(SimulateConfig(arguments.model, out=data, **options))
    without_poses(data / "particles.star")
    rows = [refined_by_us(work, choices, seed) for seed in range(arguments.repeats)]
    if not (arguments.keep_relion and kept.is_file()):
        kept.write_text(json.dumps(refined_by_relion(work, choices)))
    peer = json.loads(kept.read_text())
    for key in ("wall", "cpu"):
        ours = statistics.median(row[f"{key}_s"] for row in rows)
        peer[f"{key}_ratio"] = peer[f"{key}_s"] / ours
    rows = [*rows, peer, *at_true_poses(work, arguments.symmetry)]
    rows = [{"images": arguments.images, **row} for row in rows]
    replace_rows(RESULTS, FIELDS, rows, {"name": arguments.name})


if __name__ == "__main__":
    main()
