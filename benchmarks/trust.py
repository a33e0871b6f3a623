"""Whether the verdict is right: known molecules, traps and noise, with default options.

    python benchmarks/trust.py --data DATA --work FOLDER [--cases pol2 noise ...] [--seeds 0 1 2]

``DATA`` is the folder of models that the tests use.  A map is right if its FSC with the truth is
0.5 at no more than 1.3 times the resolution of the map reconstructed from the true poses.  The
search itself ends at its final resolution, so the single starts are held to 1.3 times that where
it is coarser, and a column tells whether the job's map is right by that measure.  Every job, good
or bad, is a row of benchmarks/results/trust.csv, in the place of one of the same case and seed.
"""

from __future__ import annotations

import argparse
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import torch
from machine import run_alone, version, vitreous
from rows import keep

from vitreous.config.maps import CompareConfig
from vitreous.config.simulate import SimulateConfig
from vitreous.engine.images import optics_of
from vitreous.errors import VitreousError
from vitreous.imaging.ctf import Defocus
from vitreous.io.mrc import stack_writer, write_map
from vitreous.io.star import read_star, write_star
from vitreous.jobs.compare import run_compare
from vitreous.jobs.simulate import run_simulate
from vitreous.math.rotations import euler_to_matrix
from vitreous.particles.files import read_particles
from vitreous.particles.stack import open_images
from vitreous.reconstruct.backproject import PosedImages, reconstruct_at_poses
from vitreous.validate.labels import contingency, matched

RESULTS = Path(__file__).parent / "results" / "trust.csv"
FIELDS = (
    *("case", "seed", "verdict", "right", "fsc05_A", "needed_A", "right_to_search_limit"),
    *("starts", "starts_right", "label_accuracy", "labels_as_seed_0", "noise_found"),
    *("wall_s", "sentence", "options", "version"),
)
ACCEPTED = 1.3


@dataclass(frozen=True)
class Part:
    """Some images: of a model, or of noise alone."""

    model: str | None
    count: int
    views: str = "uniform"


@dataclass(frozen=True)
class Case:
    """What a stack is mixed from, how it was imaged, and the options of the job.

    A real stack has no parts, but a model and the resolution that projection matching with that
    model reached on it.
    """

    parts: tuple[Part, ...]
    options: str
    box: int = 64
    pixel_size: float = 4.0
    snr: float = 0.1
    sign: int = 1
    solvable: bool = True
    final_resolution: float = 15.0
    stack: str | None = None
    model: str | None = None
    reached: float = float("nan")


POL2 = "models/1y1v_polII_TFIIS.pdb"
CASES = {
    "pol2": Case((Part(POL2, 3000),), "--mask-diameter 200"),
    "ruvb": Case((Part("models/7pbl.pdb", 3000),), "--mask-diameter 180"),
    "riboswitch": Case(
        (Part("models/4gxy_riboswitchRNA.cif", 3000),),
        "--mask-diameter 120",
        pixel_size=2.5,
        snr=0.05,
    ),
    "apoferritin": Case(
        (Part("models/apoferritin_CA_sym_cryolike.pdb", 3000),),
        "--mask-diameter 150 --symmetry O --final-resolution 10",
        pixel_size=3.0,
        final_resolution=10.0,
    ),
    "groel": Case(
        (Part("models/groel_apo_CA.pdb", 3600), Part("models/groel_holo_CA.pdb", 2400)),
        "--mask-diameter 140 --classes 2 --final-resolution 12",
        pixel_size=3.0,
        final_resolution=12.0,
    ),
    "pol2-noise": Case((Part(POL2, 2100), Part(None, 900)), "--mask-diameter 200"),
    "pol2-preferred": Case((Part(POL2, 3000, "preferred"),), "--mask-diameter 200"),
    "pol2-inverted": Case((Part(POL2, 3000),), "--mask-diameter 200", sign=-1, solvable=False),
    "noise": Case((Part(None, 3000),), "--mask-diameter 200", solvable=False),
    "empiar10146": Case(
        (),
        "--mask-diameter 150 --symmetry O --final-resolution 10",
        final_resolution=10.0,
        stack="empiar10146/particles_3.0A_72.star",
        model="models/apoferritin_CA_sym_cryolike.pdb",
        reached=11.0,
    ),
}


def simulated(part: Part, case: Case, data: Path, out: Path, seed: int) -> Path:
    """Stack of one part; noise alone has the CTFs of a stack, and white images."""
    model = data / (part.model or POL2)
    config = SimulateConfig(
        model,
        out=out,
        n=part.count,
        box=case.box,
        pixel_size=case.pixel_size,
        snr=case.snr,
        views=part.views,
        seed=seed,
        overwrite=True,
    )
    return run_simulate(config)


def mixed(case: Case, data: Path, work: Path) -> tuple[Path, np.ndarray]:
    """One stack of all parts, and the part that each image came from; made once."""
    labels = np.repeat(np.arange(len(case.parts)), [part.count for part in case.parts])
    if (work / "all.star").is_file():
        return work / "all.star", labels
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    frames, images = [], []
    rng = np.random.default_rng(7)
    for number, part in enumerate(case.parts):
        star = simulated(part, case, data, work / f"part{number}", number + 1)
        table = read_particles(star)
        found = open_images(table).read(np.arange(len(table)))
        images.append(rng.normal(size=found.shape) if part.model is None else case.sign * found)
        frames.append(read_star(star))
    stack = np.concatenate(images).astype(np.float32)
    with stack_writer(work / "all.mrcs", case.box, len(stack), case.pixel_size) as file:
        file.append(stack)
    rows = pl.concat([frame["particles"].frame for frame in frames])
    names = pl.Series([f"{i:06d}@all.mrcs" for i in range(1, len(stack) + 1)])
    blocks = frames[0] | {
        "particles": frames[0]["particles"].with_frame(rows.with_columns(rlnImageName=names))
    }
    write_star(work / "all.star", blocks.values())
    return work / "all.star", labels


def resolution_at_true_poses(star: Path, truth: Path, out: Path) -> float:
    """FSC 0.5 of the map from the true poses: what can be had."""
    table = read_particles(star)
    source, group = open_images(table), table.optics[0]
    frame = read_star(star)["particles"].frame

    def column(name: str) -> torch.Tensor:
        return torch.from_numpy(frame[name].cast(pl.Float64).to_numpy().copy())

    angles = torch.stack([column(f"rlnAngle{name}") for name in ("Rot", "Tilt", "Psi")], dim=-1)
    origins = torch.stack([column(f"rlnOrigin{axis}Angst") for axis in "XY"], dim=-1)
    defocus = [column(f"rlnDefocus{name}").float() for name in ("U", "V", "Angle")]

    def batches():  # type: ignore[no-untyped-def]
        for rows in np.array_split(np.arange(len(table)), max(1, len(table) // 200)):
            yield PosedImages(
                torch.from_numpy(source.read(rows)),
                euler_to_matrix(*angles[rows].T).float(),
                (origins[rows] / group.pixel_size).float(),
                Defocus(*(part[rows] for part in defocus), torch.zeros(len(rows))),
                optics_of(group),
            )

    volume = reconstruct_at_poses(batches(), group.box, group.pixel_size)
    write_map(out, volume.numpy(), group.pixel_size)
    return resolution(out, truth)


def resolution(found: Path, truth: Path) -> float:
    """FSC 0.5 in angstrom after alignment; infinity if it begins below."""
    aligned = found.with_suffix(".aligned.mrc")
    config = CompareConfig(found, truth, out=aligned, overwrite=True)
    try:
        return run_compare(config).resolution_05 or float("inf")
    except VitreousError:  # a map without density, as of dark particles
        return float("inf")


def classes_of(star: Path) -> np.ndarray:
    """Class of every image, from 0."""
    frame = read_star(star)["particles"].frame
    return frame["rlnClassNumber"].cast(pl.Int64).to_numpy() - 1


def same_classes(found: np.ndarray, labels: np.ndarray) -> float:
    """Share of the images in the same class, the classes named to make it greatest."""
    count = int(max(found.max(), labels.max())) + 1
    return matched(contingency(found, labels, count))[1]


def noise_found(result: dict, found: np.ndarray, labels: np.ndarray, case: Case) -> float:
    """Share of the images of noise that end in a class labelled junk."""
    noise = [number for number, part in enumerate(case.parts) if part.model is None]
    junk = [entry["class"] - 1 for entry in result["classes"] if entry["label"] != "map"]
    member = np.isin(labels, noise)
    return float(np.isin(found[member], junk).mean()) if member.any() else float("nan")


def run_abinit(star: Path, options: str, out: Path, seed: int) -> dict[str, object]:
    """Run one job in a process of its own: its times, and what it says if it stops."""
    shutil.rmtree(out, ignore_errors=True)
    command = vitreous("abinit", star, "--out", out, *options.split(), "--seed", seed)
    return run_alone(command, out.with_name(f"{out.name}.log"))


def run_job(name: str, case: Case, star: Path, truth: Path, labels: np.ndarray, needed: float,
            work: Path, seed: int) -> dict[str, object]:  # fmt: skip
    """One default job, its verdict, and the truth about it."""
    out = work / f"job{seed}"
    figures = run_abinit(star, case.options, out, seed)
    stopped = str(figures["stopped"])
    row: dict[str, object] = {
        "case": name,
        "seed": seed,
        "wall_s": figures["wall_s"],
        "options": case.options,
        "version": version(),
    }
    if stopped:
        return row | {
            "verdict": "stopped",
            "right": False,
            "sentence": stopped.replace(f"{work}/", ""),
        }
    result = json.loads((out / "result.json").read_text())
    found = min(resolution(path, truth) for path in sorted(out.glob("class*.mrc")))
    last: dict[str, Path] = {}
    for path in sorted((out / "iterations").glob("start*_class001.mrc")):
        last[path.name[:7]] = path
    finished = [f"start{entry['start']:02d}" for entry in result["starts"] if entry["finished"]]
    reach = max(needed, case.final_resolution)
    starts = [resolution(last[start], truth) <= ACCEPTED * reach for start in finished]
    classes = classes_of(out / "particles.star")
    several = len(case.parts) > 1 and all(part.model for part in case.parts)
    return row | {
        "verdict": result["verdict"],
        "right": found <= ACCEPTED * needed if case.solvable else False,
        "fsc05_A": found,
        "needed_A": ACCEPTED * needed,
        "right_to_search_limit": found <= ACCEPTED * reach if case.solvable else False,
        "starts": len(starts),
        "starts_right": sum(starts),
        "label_accuracy": same_classes(classes, labels) if several else float("nan"),
        "labels_as_seed_0": same_classes(classes, classes_of(work / "job0" / "particles.star")),
        "noise_found": noise_found(result, classes, labels, case),
        "sentence": result["sentence"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(10)))
    arguments = parser.parse_args()
    for name in arguments.cases:
        case, work = CASES[name], arguments.work.resolve() / name
        work.mkdir(parents=True, exist_ok=True)
        data = arguments.data.resolve()
        if case.stack and case.model:
            star, truth, needed = data / case.stack, data / case.model, case.reached
            labels = np.zeros(len(read_particles(star)), int)
        else:
            star, labels = mixed(case, data, work)
            truth, needed = work / "part0" / "truth.mrc", float("nan")
        if case.solvable and case.parts:
            poses = work / "part0" / "particles.star"
            needed = resolution_at_true_poses(poses, truth, work / "ceiling.mrc")
        for seed in arguments.seeds:
            row = run_job(name, case, star, truth, labels, needed, work, seed)
            print(row, flush=True)
            keep(RESULTS, FIELDS, row, {"case": list(CASES), "seed": None})


if __name__ == "__main__":
    main()
