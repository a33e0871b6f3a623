"""How often a single random start is right, under several schedules of the search.

    python benchmarks/schedules.py --data DATA --work FOLDER [--cases pol2 ...] [--starts 4]

The stacks are those of benchmarks/trust.py.  A start is right if, at the end of its iterations and
before any last pass, its map's FSC with the truth is 0.5 at no more than 1.3 times the search's
final resolution (or the resolution from true poses, if that is coarser).  Rows of the same case and
schedule in benchmarks/results/schedules.csv are replaced.
"""

from __future__ import annotations

import argparse
import csv
import time
from pathlib import Path
from typing import Any

import torch
from trust import ACCEPTED, CASES, mixed, resolution_at_true_poses

from vitreous.io.mrc import read_map
from vitreous.jobs.abinit.memory import memory_plan
from vitreous.jobs.abinit.problem import Problem, first_state
from vitreous.jobs.abinit.starts import iterate
from vitreous.jobs.config import AbinitConfig
from vitreous.jobs.folder import ignore
from vitreous.jobs.images import BEYOND, CtfMode, load_rings, working_frame
from vitreous.kernels.threads import one_thread
from vitreous.math.fourier import resample_map
from vitreous.math.symmetry import point_group
from vitreous.particles.stack import open_images
from vitreous.particles.table import read_particles
from vitreous.physics.masks import soft_sphere
from vitreous.validate.reproducibility import agreement

RESULTS = Path(__file__).parent / "results" / "schedules.csv"
FIELDS = ("case", "schedule", "starts", "right", "needed_A", "found_A", "seconds_a_start")

MASKS = {
    "pol2": 200.0,
    "ruvb": 180.0,
    "riboswitch": 120.0,
    "apoferritin": 150.0,
    "pol2-noise": 200.0,
    "pol2-preferred": 200.0,
}
SCHEDULES: dict[str, dict[str, Any]] = {
    "default": {},
    "noise inflated 8 times, half-life 1,000 particles": {"noise_halflife": 1000.0},
    "batches of 500 from the first, a third of the iterations": {
        "initial_batch": 500,
        "final_batch": 500,
        "initial_iterations": 8,
        "between_iterations": 17,
        "final_iterations": 8,
    },
    "batches of 100 to the last": {"initial_batch": 100, "final_batch": 100},
    "from 60 A": {"initial_resolution": 60.0},
    "no marching: the final resolution from the first": {"initial_resolution": None},
}


def problem_of(star: Path, config: AbinitConfig, diameter: float) -> Problem:
    """A search made ready, as the job does."""
    table = read_particles(star)
    frame = working_frame(table, diameter, config.final_resolution, BEYOND)
    operators, cpu = point_group(config.symmetry), torch.device("cpu")
    plan = memory_plan(config, table, frame, len(operators), cpu)
    images = load_rings(table, open_images(table), frame, cpu, ignore, CtfMode())
    return Problem(table, frame, images, operators, cpu, plan.tiling, config)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--cases", nargs="+", choices=MASKS, default=list(MASKS))
    parser.add_argument("--schedules", nargs="+", choices=SCHEDULES, default=list(SCHEDULES))
    parser.add_argument("--starts", type=int, default=4)
    arguments = parser.parse_args()
    torch.use_deterministic_algorithms(True)
    for name in arguments.cases:
        case, work = CASES[name], arguments.work.resolve() / name
        work.mkdir(parents=True, exist_ok=True)
        star, _ = mixed(case, arguments.data.resolve(), work)
        path = work / "part0" / "truth.mrc"
        poses = work / "part0" / "particles.star"
        best = resolution_at_true_poses(poses, path, work / "ceiling.mrc")
        needed = ACCEPTED * max(best, case.final_resolution)
        for schedule in arguments.schedules:
            options = dict(SCHEDULES[schedule])
            if options.get("initial_resolution", 0) is None:
                options["initial_resolution"] = case.final_resolution
            symmetry = "O" if name == "apoferritin" else "C1"
            config = AbinitConfig(
                star,
                out=work / "unused",
                symmetry=symmetry,
                final_resolution=case.final_resolution,
                starts=arguments.starts,
                **options,
            )
            problem = problem_of(star, config, MASKS[name])
            frame = problem.frame
            truth = resample_map(torch.from_numpy(read_map(path)[0])[None], frame.box)[0]
            mask = soft_sphere(frame.box, frame.mask_radius, frame.mask_edge)
            found, began = [], time.perf_counter()
            for start in range(arguments.starts):
                state = first_state(problem, start)
                with one_thread():
                    for step in problem.steps:
                        state, _ = iterate(problem, state, step)
                laid = agreement(
                    state.maps[0], truth, mask, frame.pixel_size, finest=frame.field / state.rings
                )
                found.append(laid.resolution)
            keep(
                {
                    "case": name,
                    "schedule": schedule,
                    "starts": len(found),
                    "right": sum(resolution <= needed for resolution in found),
                    "needed_A": round(needed, 1),
                    "found_A": " ".join(f"{resolution:.1f}" for resolution in sorted(found)),
                    "seconds_a_start": round((time.perf_counter() - began) / len(found), 1),
                }
            )


def keep(row: dict[str, object]) -> None:
    """Put a row into the table, in the place of one of the same case and schedule."""
    rows: list[dict[str, object]] = []
    if RESULTS.is_file():
        with RESULTS.open(newline="") as file:
            rows = list(csv.DictReader(file))
    same = (row["case"], row["schedule"])
    rows = [other for other in rows if (other["case"], other["schedule"]) != same]
    print(row, flush=True)
    with RESULTS.open("w", newline="") as file:
        writer = csv.DictWriter(file, FIELDS)
        writer.writeheader()
        writer.writerows([*rows, row])


if __name__ == "__main__":
    main()
