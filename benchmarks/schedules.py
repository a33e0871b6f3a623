"""How often a single random start is right, under several schedules of the search.

    python benchmarks/schedules.py --data DATA --work FOLDER [--cases pol2 ...] [--starts 4]

The stacks are those of benchmarks/trust.py, the real one among them.  A start is right if, at the
end of its iterations and before any last pass, the FSC of its map (of several classes, the nearest)
with the truth is 0.5 at no more than 1.3 times the search's final resolution, or the resolution
from true poses if that is coarser.
Rows of the same case and schedule in benchmarks/results/schedules.csv are replaced.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import torch
from rows import keep
from trust import ACCEPTED, CASES, Case, mixed, resolution_at_true_poses

from vitreous.config.abinit import AbinitConfig
from vitreous.engine.images import BEYOND, CtfMode, working_frame
from vitreous.engine.loop import run_through
from vitreous.engine.rings import load_rings
from vitreous.imaging.masks import soft_sphere
from vitreous.io.models import read_volume
from vitreous.math.fourier import resample_map
from vitreous.math.symmetry import point_group
from vitreous.ops.threads import one_thread
from vitreous.particles.files import read_particles
from vitreous.particles.grid import common_grid
from vitreous.particles.stack import open_images
from vitreous.runs.folder import ignore
from vitreous.schedules.abinit.context import RunContext, first_state, mini_batches
from vitreous.schedules.abinit.memory import memory_plan
from vitreous.schedules.abinit.starts import iterations
from vitreous.validate.reproducibility import agreement

RESULTS = Path(__file__).parent / "results" / "schedules.csv"
FIELDS = ("case", "schedule", "starts", "right", "needed_A", "found_A", "seconds_a_start")

SOLVABLE = [name for name, case in CASES.items() if case.solvable]
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


def option(case: Case, name: str, default: str) -> str:
    """What the case's job is told by an option."""
    words = case.options.split()
    return words[words.index(name) + 1] if name in words else default


def context_of(star: Path, config: AbinitConfig) -> RunContext:
    """A search made ready, as the job does."""
    table = read_particles(star)
    frame = working_frame(common_grid(table), float(config.mask_diameter), config.ends_at, BEYOND)
    operators, cpu = point_group(config.symmetry), torch.device("cpu")
    plan = memory_plan(config, table, frame, len(operators), cpu)
    images = load_rings(table, open_images(table), frame, cpu, ignore, CtfMode())
    return RunContext(table, frame, images, operators, cpu, plan.tiling, config)


def given(case: Case, data: Path, work: Path) -> tuple[Path, Path, float]:
    """Particles, what they show, and the resolution to be had: simulated unless they are real."""
    if case.stack and case.model:
        return data / case.stack, data / case.model, case.reached
    star, _ = mixed(case, data, work)
    truth = work / "part0" / "truth.mrc"
    best = resolution_at_true_poses(work / "part0" / "particles.star", truth, work / "ceiling.mrc")
    return star, truth, best


def tried(
    name: str, schedule: str, star: Path, truth: Path, needed: float, starts: int
) -> dict[str, object]:
    """What single starts come to under a schedule."""
    case, options = CASES[name], dict(SCHEDULES[schedule])
    if options.get("initial_resolution", 0) is None:
        options["initial_resolution"] = case.final_resolution
    config = AbinitConfig(
        star,
        out=Path("unused"),
        symmetry=option(case, "--symmetry", "C1"),
        classes=int(option(case, "--classes", "1")),
        mask_diameter=float(option(case, "--mask-diameter", "nan")),
        final_resolution=case.final_resolution,
        starts=starts,
        **options,
    )
    context = context_of(star, config)
    frame, group = context.frame, context.table.optics[0]
    volume, _ = read_volume(truth, group.box, group.pixel_size)
    target = resample_map(torch.from_numpy(volume)[None], frame.box)[0]
    mask = soft_sphere(frame.box, frame.mask_radius, frame.mask_edge)
    found, began = [], time.perf_counter()
    for start in range(starts):
        state = first_state(context, start)
        with one_thread():
            batches = mini_batches(context, state, [step.batch for step in context.steps])
            state = run_through(state, batches, iterations(context, context.steps))
        finest = frame.field / state.rings
        laid = [
            agreement(map_, target, mask, frame.pixel_size, finest=finest) for map_ in state.maps
        ]
        found.append(min(each.resolution for each in laid))
    return {
        "case": name,
        "schedule": schedule,
        "starts": len(found),
        "right": sum(resolution <= needed for resolution in found),
        "needed_A": round(needed, 1),
        "found_A": " ".join(f"{resolution:.1f}" for resolution in sorted(found)),
        "seconds_a_start": round((time.perf_counter() - began) / len(found), 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--cases", nargs="+", choices=SOLVABLE, default=SOLVABLE)
    parser.add_argument("--schedules", nargs="+", choices=SCHEDULES, default=list(SCHEDULES))
    parser.add_argument("--starts", type=int, default=4)
    arguments = parser.parse_args()
    torch.set_deterministic_debug_mode("error")
    for name in arguments.cases:
        case, work = CASES[name], arguments.work.resolve() / name
        work.mkdir(parents=True, exist_ok=True)
        star, truth, best = given(case, arguments.data.resolve(), work)
        needed = ACCEPTED * max(best, case.final_resolution)
        for schedule in arguments.schedules:
            row = tried(name, schedule, star, truth, needed, arguments.starts)
            print(row, flush=True)
            keep(RESULTS, FIELDS, row, {"case": SOLVABLE, "schedule": list(SCHEDULES)})


if __name__ == "__main__":
    main()
