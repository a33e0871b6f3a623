"""2D classification, RELION's beside it: time, starved classes, right averages, junk left out.

    python benchmarks/class2d.py PARTICLES.star --work FOLDER [--truth MAP] [--labels LABELS.npy] \
        [--mask-diameter 190] [--classes 50] [--seed 0] [--memory 1.95] \
        [--program relion --iterations 25]

``--truth`` is the map that the particles were simulated from, at poses that their file gives: each
average is compared with the projection nearest to those of its members (the one whose mean angle to
the members' views is least), turned and shifted to fit best, by the resolution at an FSC of 0.5.
``--labels`` are those of junk_picks.py: 0 for a particle.  ``--program relion`` runs
``relion_refine`` on the same particles with as many classes and steps as fine (12 degrees in plane
and 2 pixels, halved by oversampling); ``cpu_25_s`` is its time for 25 iterations, from those that
were run.  A job is a row of benchmarks/results/class2d.csv.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from machine import run_alone, version, vitreous
from rows import replace_rows
from scipy import ndimage, optimize
from scipy.spatial.transform import Rotation

from vitreous.io.mrc import open_stack, read_map
from vitreous.particles.files import read_particles
from vitreous.particles.particle_set import ParticleSet
from vitreous.schedules.class2d.starved import STARVED

RESULTS = Path(__file__).parent / "results" / "class2d.csv"
PROGRAMS = ("vitreous", "relion")
FIELDS = (
    *("input", "program", "mask_A", "particles", "classes", "seed", "memory", "iterations"),
    *("cpu_s", "cpu_25_s", "wall_s", "peak_GB", "starved", "held_out_nats", "fsc05_A", "good_kept"),
    *("junk_dropped", "by_kind", "version"),
)
NAMED = ("input", "program", "mask_A", "classes", "seed", "memory", "iterations")
"""Columns that tell rows apart."""
RELION = (
    "relion_refine --o {out}/run --i {particles} --ctf --K {classes} --tau2_fudge 2 "
    "--particle_diameter {diameter} --flatten_solvent --zero_mask --psi_step 12 --oversampling 1 "
    "--offset_range 5 --offset_step 2 --norm --scale --iter {iterations} --pool 3 --pad 2 "
    "--dont_combine_weights_via_disc --preread_images --random_seed {seed} --j {threads}"
)
WHOLE = 25
"""RELION's iterations."""


@dataclass(frozen=True)
class Classified:
    """Averages, and where the particles are.

    Attributes
    ----------
    averages : Path
    numbers : int array (particles,)
        Class of each particle of the input, from 1.
    """

    averages: Path
    numbers: np.ndarray


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


def resolution(found: Classified, truth: Path, given: Path) -> float:
    """Mean resolution in angstrom at an FSC of 0.5, of averages weighed by their particles."""
    volume, pixel = read_map(truth)
    poses = read_particles(given)
    views = Rotation.from_euler("ZYZ", np.stack([poses.rot, poses.tilt, poses.psi], 1), True)
    axis = views.as_matrix()[:, :, 2]
    turns = views.as_matrix().transpose(0, 2, 1)
    averages = open_stack(found.averages)
    frequency, weight = 0.0, 0
    for number, count in zip(*np.unique(found.numbers, return_counts=True), strict=True):
        if count < 5:
            continue
        members = np.flatnonzero(found.numbers == number)
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
    chosen = job.with_name(f"{job.name}_selected.star")
    words = vitreous("select", str(job), "--auto", "--out", str(chosen), "--overwrite")
    subprocess.run(words, check=True, capture_output=True)
    names = read_particles(job / "particles.star").image_name
    return names.is_in(read_particles(chosen).image_name.implode()).to_numpy()


def image_names(table: ParticleSet) -> list[tuple[int, str]]:
    """Number and stack of each image; paths depend on the program."""
    parts = (name.split("@") for name in table.image_name.to_list())
    return [(int(number), Path(stack).name) for number, stack in parts]


def numbers_of(star: Path, given: Path) -> np.ndarray:
    """Classes that a file tells of the particles, in the order of the input."""
    told = read_particles(star, need_images=False)
    number = dict(zip(image_names(told), told.class_number, strict=True))
    return np.array([number[name] for name in image_names(read_particles(given))])


def ours(given: argparse.Namespace) -> tuple[Classified, dict[str, object]]:
    """Classes of ``vitreous class2d``, and what is known of the job."""
    words = vitreous("class2d", str(given.particles), "--no-check", "--out", str(given.work))
    words += ["--overwrite", "--seed", str(given.seed), "--mask-diameter", given.mask_diameter]
    words += ["--classes", given.classes] if given.classes else []
    words += ["--memory", given.memory] if given.memory else []
    figures = run_alone(words, given.work.with_suffix(".log"))
    result = json.loads((given.work / "result.json").read_text())
    figures |= {
        "particles": result["input"]["n_particles"],
        "classes": len(result["classes"]),
        "starved": result["starved"],
        "held_out_nats": round(result["held_out_evidence"] or 0.0, 1),
    }
    star = given.work / "particles.star"
    return Classified(
        given.work / "class_averages.mrcs", numbers_of(star, given.particles)
    ), figures


def relions(given: argparse.Namespace) -> tuple[Classified, dict[str, object]]:
    """Classes of RELION's, and what is known of its run."""
    given.work.mkdir(exist_ok=True)
    command = RELION.format(
        out=given.work,
        particles=given.particles.name,
        classes=given.classes,
        diameter=given.mask_diameter,
        iterations=given.iterations,
        seed=given.seed,
        threads=torch.get_num_threads(),
    )
    with contextlib.chdir(given.particles.parent):
        figures = run_alone(shlex.split(command), given.work.with_suffix(".log"))
    stem = given.work / f"run_it{given.iterations:03d}"
    numbers = numbers_of(stem.with_name(f"{stem.name}_data.star"), given.particles)
    sizes = np.bincount(numbers - 1, minlength=int(given.classes))
    figures |= {
        "particles": len(numbers),
        "classes": given.classes,
        "iterations": given.iterations,
        "cpu_25_s": float(figures["cpu_s"]) * WHOLE / given.iterations,
        "starved": int((sizes < STARVED * sizes.mean()).sum()),
    }
    return Classified(stem.with_name(f"{stem.name}_classes.mrcs"), numbers), figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("particles", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--truth", type=Path)
    parser.add_argument("--labels", type=Path)
    parser.add_argument("--mask-diameter", default="auto")
    parser.add_argument("--classes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--memory", default="")
    parser.add_argument("--program", choices=PROGRAMS, default="vitreous")
    parser.add_argument("--iterations", type=int, default=WHOLE)
    given = parser.parse_args()
    given.work = given.work.resolve()
    found, figures = (ours if given.program == "vitreous" else relions)(given)
    if stopped := figures.pop("stopped"):
        sys.exit(f"{given.program} stopped: {stopped}")
    row = {name: getattr(given, name, "") for name in ("program", "seed", "memory")}
    row["mask_A"] = given.mask_diameter
    row |= {"input": given.particles.resolve().parent.name, "version": version(), **figures}
    if given.truth:
        row["fsc05_A"] = round(resolution(found, given.truth, given.particles), 2)
    if given.labels:
        labels = np.load(given.labels)
        kept = selected(given.work)
        row["good_kept"] = round(float(kept[labels == 0].mean()), 4)
        row["junk_dropped"] = round(float(1 - kept[labels > 0].mean()), 4)
        kinds = (round(float(1 - kept[labels == kind].mean()), 3) for kind in range(1, 5))
        row["by_kind"] = " ".join(map(str, kinds))
    replace_rows(RESULTS, FIELDS, [row], {name: row.get(name, "") for name in NAMED})
    print(row)


if __name__ == "__main__":
    main()
