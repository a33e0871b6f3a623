"""2D classification: time, starved classes, how far averages are right, and junk that is left out.

    python benchmarks/class2d.py PARTICLES.star --work FOLDER [--truth MAP] [--labels LABELS.npy] \
        [--mask-diameter 190] [--classes 50] [--seed 0]

``--truth`` is the map that the particles were simulated from, at poses that their file gives: each
average is compared with the projection nearest to those of its members (the one whose mean angle to
the members' views is least), turned and shifted to fit best, by the resolution at an FSC of 0.5.
``--labels`` are those of junk_picks.py: 0 for a particle.  A job is a row of
benchmarks/results/class2d.csv.
"""

from __future__ import annotations

import argparse
import csv
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage, optimize
from scipy.spatial.transform import Rotation

from vitreous.io.mrc import open_stack, read_map
from vitreous.particles.files import read_particles

RESULTS = Path(__file__).parent / "results" / "class2d.csv"
FIELDS = (
    *("particles", "classes", "seed", "cpu_s", "wall_s", "peak_GB", "starved", "held_out_nats"),
    *("fsc05_A", "good_kept", "junk_dropped", "by_kind"),
)


def ring_fsc(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Correlation of two images ring by ring."""
    n = len(a)
    fa, fb = (np.fft.fftshift(np.fft.fft2(x)) for x in (a, b))
    y, x = np.mgrid[:n, :n] - n // 2
    ring = np.round(np.hypot(x, y)).astype(int).ravel()
    cross, pa, pb = (
        np.bincount(ring, v.ravel())[: n // 2]
        for v in ((fa * fb.conj()).real, np.abs(fa) ** 2, np.abs(fb) ** 2)
    )
    return cross / np.sqrt(pa * pb + 1e-30)


def projected(volume: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """Sum of a map along z after a rotation (volume to image frame)."""
    middle = np.array(volume.shape) // 2
    flip = turn.T[::-1, ::-1]  # z, y, x
    return ndimage.affine_transform(volume, flip, middle - flip @ middle, order=1).sum(axis=0)


def fitted(average: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """The reference turned and shifted to fit the average best."""

    def moved(place: np.ndarray) -> np.ndarray:
        turned = ndimage.rotate(reference, place[0], reshape=False, order=1)
        return ndimage.shift(turned, place[1:], order=1)

    def misfit(place: np.ndarray) -> float:
        return -float(np.corrcoef(moved(place).ravel(), average.ravel())[0, 1])

    starts = [np.array([angle, 0.0, 0.0]) for angle in range(0, 360, 10)]
    best = min(starts, key=misfit)
    simplex = best + np.array([[0, 0, 0], [6, 0, 0], [0, 1, 0], [0, 0, 1]])
    found = optimize.minimize(
        misfit, best, method="Nelder-Mead", options={"initial_simplex": simplex, "maxiter": 80}
    )
    return moved(found.x)


def resolution(job: Path, truth: Path, given: Path) -> float:
    """Mean resolution in angstrom at an FSC of 0.5, of averages weighed by their particles."""
    volume, pixel = read_map(truth)
    table, poses = read_particles(job / "particles.star"), read_particles(given)
    views = Rotation.from_euler("ZYZ", np.stack([poses.rot, poses.tilt, poses.psi], 1), True)
    axis = views.as_matrix()[:, :, 2]
    turns = views.as_matrix().transpose(0, 2, 1)
    averages = open_stack(job / "class_averages.mrcs")
    frequency, weight = 0.0, 0
    for number, count in zip(*np.unique(table.class_number, return_counts=True), strict=True):
        if count < 5:
            continue
        members = np.flatnonzero(table.class_number == number)
        nearest = members[(axis[members] @ axis[members].T).mean(axis=1).argmax()]
        average = averages.read(np.array([number - 1]))[0]
        curve = ring_fsc(average, fitted(average, projected(volume, turns[nearest])))
        below = np.flatnonzero(curve[1:] < 0.5)
        ring = below[0] if len(below) else len(curve) - 1
        frequency += count * max(ring, 1) / (len(average) * pixel)
        weight += count
    return weight / frequency


def selected(job: Path) -> np.ndarray:
    """Which particles ``vitreous select --auto`` keeps."""
    chosen = job / "selected.star"
    words = ["select", str(job), "--auto", "--out", str(chosen), "--overwrite"]
    subprocess.run([sys.executable, "-m", "vitreous", *words], check=True, capture_output=True)
    names = read_particles(job / "particles.star").image_name
    return names.is_in(read_particles(chosen).image_name.implode()).to_numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("particles", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--truth", type=Path)
    parser.add_argument("--labels", type=Path)
    parser.add_argument("--mask-diameter", default="auto")
    parser.add_argument("--classes")
    parser.add_argument("--seed", default="0")
    parser.add_argument("--memory")
    given = parser.parse_args()
    words = [sys.executable, "-m", "vitreous", "class2d", str(given.particles), "--no-check"]
    words += ["--out", str(given.work), "--overwrite", "--seed", given.seed]
    words += ["--mask-diameter", given.mask_diameter]
    words += ["--classes", given.classes] if given.classes else []
    words += ["--memory", given.memory] if given.memory else []
    began = time.monotonic()
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    wall, used = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    result = json.loads((given.work / "result.json").read_text())
    row = {
        "particles": result["input"]["n_particles"],
        "classes": len(result["classes"]),
        "seed": given.seed,
        "cpu_s": round(used.ru_utime + used.ru_stime, 1),
        "wall_s": round(wall, 1),
        "peak_GB": round(used.ru_maxrss / 1e6, 2),
        "starved": result["starved"],
        "held_out_nats": round(result["held_out_evidence"] or 0.0, 1),
    }
    if given.truth:
        row["fsc05_A"] = round(resolution(given.work, given.truth, given.particles), 2)
    if given.labels:
        labels = np.load(given.labels)
        kept = selected(given.work)
        row["good_kept"] = round(float(kept[labels == 0].mean()), 4)
        row["junk_dropped"] = round(float(1 - kept[labels > 0].mean()), 4)
        kinds = (round(float(1 - kept[labels == kind].mean()), 3) for kind in range(1, 5))
        row["by_kind"] = " ".join(map(str, kinds))
    new = not RESULTS.exists()
    with RESULTS.open("a", newline="") as file:
        writer = csv.DictWriter(file, FIELDS)
        if new:
            writer.writeheader()
        writer.writerow(row)
    print(row)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
