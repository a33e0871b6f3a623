"""Peak memory and time of jobs that keep all images in memory, or read them again.

    python benchmarks/memory.py --model MODEL --work FOLDER [--cases abinit-64 ...]

Stacks hold the images of a small simulated one again and again, each time with more noise of its
own: 20,000 of 128 px (1.3 GB on disk) and 200,000 of 64 px (3.3 GB).  Every job runs twice in a
process of its own, with all the memory there is and with ``--memory 1.95``; what a process held at
its fullest is what the system says of it when it ends, and includes the libraries.  The refinement
of 2,000 images of 256 px from a map at 40 A, to its end, runs with all the memory there is.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from machine import run_alone, version, vitreous
from rows import keep

from vitreous.io.mrc import stack_writer
from vitreous.io.star import read_star, write_star
from vitreous.particles.files import read_particles
from vitreous.particles.stack import open_images

RESULTS = Path(__file__).parent / "results" / "memory.csv"
FIELDS = (
    *("case", "memory_GB", "particles", "box", "peak_GB", "wall_s", "cpu_s", "stopped", "version"),
)
LIMIT, BATCH = "1.95", 500
SIMULATED = 1_000


@dataclass(frozen=True)
class Stack:
    """Images of Pol II.

    Attributes
    ----------
    particles, box : int
    pixel_size : float
        Angstrom.
    """

    particles: int
    box: int
    pixel_size: float


@dataclass(frozen=True)
class Case:
    """A job: what follows ``vitreous`` on the command line.

    Attributes
    ----------
    stack : Stack
    command : str
        With the places of {star} and {truth}.
    limited : bool
        Whether it takes ``--memory``.
    """

    stack: Stack
    command: str
    limited: bool = True


MANY, LARGE, FINE = Stack(200_000, 64, 4.0), Stack(20_000, 128, 2.0), Stack(2_000, 256, 1.2)
CASES = {
    "abinit-128": Case(LARGE, "abinit {star} --starts 2 --effort low"),
    "classify3d-128": Case(LARGE, "classify3d {star} --reference {truth} --classes 2"),
    "refine-128": Case(LARGE, "refine {star} --reference {truth} --iterations 6"),
    "reconstruct-128": Case(LARGE, "reconstruct {star}", limited=False),
    "refine-256": Case(FINE, "refine {star} --reference {truth}", limited=False),
    "abinit-64": Case(MANY, "abinit {star} --starts 2 --effort low"),
    "class2d-64": Case(MANY, "class2d {star} --classes 100"),
}


def made(stack: Stack, model: Path, work: Path) -> tuple[Path, Path]:
    """The STAR file and the true map of a stack; made once."""
    few, folder = work / f"few{stack.box}", work / f"many{stack.box}"
    star, truth = folder / "particles.star", few / "truth.mrc"
    if star.is_file():
        return star, truth
    options = ["--n", str(SIMULATED), "--box", str(stack.box), "--snr", "0.2", "--overwrite"]
    pixel = ["--pixel-size", str(stack.pixel_size), "--out", str(few)]
    subprocess.run(vitreous("simulate", str(model), *options, *pixel), check=True)
    table = read_particles(few / "particles.star")
    images, rng = open_images(table), np.random.default_rng(0)
    folder.mkdir(exist_ok=True)
    every = np.arange(stack.particles)
    with stack_writer(
        folder / "particles.mrcs", stack.box, stack.particles, stack.pixel_size
    ) as file:
        for rows in np.split(every, stack.particles // BATCH):
            noise = rng.standard_normal((BATCH, stack.box, stack.box), dtype=np.float32)
            file.append(images.read(rows % SIMULATED) + noise)
    blocks = read_star(few / "particles.star")
    names = pl.Series([f"{number + 1:06d}@particles.mrcs" for number in every.tolist()])
    frame = blocks["particles"].frame[every % SIMULATED].with_columns(rlnImageName=names)
    write_star(star, (blocks | {"particles": blocks["particles"].with_frame(frame)}).values())
    return star, truth


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=lambda text: Path(text).resolve(), required=True)
    parser.add_argument("--model", type=lambda text: Path(text).resolve(), required=True)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    given = parser.parse_args()
    for name in given.cases:
        case = CASES[name]
        star, truth = made(case.stack, given.model, given.work)
        for memory in ("all", LIMIT) if case.limited else ("all",):
            out = given.work / f"{name}-{memory}"
            shutil.rmtree(out, ignore_errors=True)
            command = case.command.format(star=star, truth=truth).split()
            limit = [] if memory == "all" else ["--memory", memory]
            found = run_alone(
                vitreous(*command, "--out", str(out), *limit), out.with_suffix(".log")
            )
            row = {"case": name, "memory_GB": memory, "particles": case.stack.particles,
                   "box": case.stack.box, **found, "version": version()}  # fmt: skip
            print(row, flush=True)
            keep(RESULTS, FIELDS, row, {"case": list(CASES), "memory_GB": ["all", LIMIT]})


if __name__ == "__main__":
    main()
