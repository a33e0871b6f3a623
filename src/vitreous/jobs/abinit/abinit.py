"""Ab initio reconstruction: from random density to maps, by stepwise EM over mini-batches."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vitreous.io.mrc import write_map
from vitreous.jobs.abinit.checks import check_abinit
from vitreous.jobs.abinit.classify import Classified, classify
from vitreous.jobs.abinit.evidence import gather_evidence
from vitreous.jobs.abinit.impose import impose_found
from vitreous.jobs.abinit.last_pass import last_pass
from vitreous.jobs.abinit.memory import memory_plan
from vitreous.jobs.abinit.outputs import write_results
from vitreous.jobs.abinit.problem import Problem
from vitreous.jobs.abinit.starts import finished, run_starts
from vitreous.jobs.abinit.state import save_checkpoint, states_from
from vitreous.jobs.abinit.verdict import Evidence, Verdict, judge
from vitreous.jobs.checkpoint import Checkpoint
from vitreous.jobs.config.abinit import AbinitConfig
from vitreous.jobs.contents import digest_of
from vitreous.jobs.em.junk import class_labels
from vitreous.jobs.em.search import SMALL_BOX
from vitreous.jobs.em.sorting import duplicates
from vitreous.jobs.em.state import SearchState
from vitreous.jobs.folder import OnEvent, ignore, job_folder
from vitreous.jobs.images import BEYOND, CtfMode, load_rings, working_frame
from vitreous.jobs.options import AUTO, device_for, on_its_threads
from vitreous.jobs.recorded import as_recorded
from vitreous.jobs.replacement import CHECKPOINT
from vitreous.kernels.compiler import COMPILED, NOT_COMPILED
from vitreous.kernels.threads import one_thread
from vitreous.math.fourier import resample_map
from vitreous.math.symmetry import point_group
from vitreous.particles.grid import common_grid, grid_warnings
from vitreous.particles.stack import open_images
from vitreous.particles.table import read_particles


def _full_size(problem: Problem, maps: Tensor) -> np.ndarray:
    """Maps on their grid, as images on it would show them."""
    return resample_map(maps.cpu(), problem.frame.grid.box).numpy()


def _write_intermediate(problem: Problem, state: SearchState, out: Path) -> None:
    folder = out / "iterations"
    folder.mkdir(exist_ok=True)
    for number, volume in enumerate(_full_size(problem, state.maps), 1):
        name = f"start{state.start + 1:02d}_it{state.iteration:03d}_class{number:03d}.mrc"
        write_map(folder / name, volume, problem.frame.grid.pixel_size)


def _run_starts(
    problem: Problem, states: list[SearchState], checkpoint: Checkpoint, on_event: OnEvent
) -> list[SearchState]:
    """All starts, with checkpoints and intermediate maps as asked."""
    written: dict[int, int] = {}

    def save(states: list[SearchState]) -> None:
        save_checkpoint(checkpoint, states)
        for state in states:
            if written.get(state.start) != state.iteration > 0:
                _write_intermediate(problem, state, checkpoint.path.parent)
                written[state.start] = state.iteration
        on_event({"event": "checkpoint", "path": checkpoint.path.name})

    return run_starts(problem, states, on_event, save)


def _start_records(states: list[SearchState], evidence: Evidence) -> list[dict[str, Any]]:
    """For result.json: what became of every start."""
    likely = dict(zip(evidence.starts, evidence.log_likelihoods, strict=True))
    chosen = evidence.starts[evidence.best]
    return [
        {
            "start": state.start + 1,
            "iterations": state.iteration,
            "finished": state.start + 1 in likely,
            "log_likelihood": likely.get(state.start + 1, state.evidence),
            "chosen": state.start + 1 == chosen,
        }
        for state in states
    ]


@dataclass(frozen=True)
class _Outcome:
    """All starts, the verdict, and the state that was chosen."""

    states: list[SearchState]
    verdict: Verdict
    chosen: SearchState


def _search(
    problem: Problem, states: list[SearchState], checkpoint: Checkpoint, on_event: OnEvent
) -> _Outcome:
    """Run the starts, sort the particles into classes, and judge."""
    states = _run_starts(problem, states, checkpoint, on_event)
    ends = [state.to(problem.device) for state in finished(states)]
    classified: list[Classified] = []
    if problem.config.classes > 1:
        classified = [classify(problem, state, on_event) for state in ends]
        ends = [one.state for one in classified]
    verdict = judge(gather_evidence(problem, ends, classified))
    on_event({"event": "verdict", **verdict.record()})
    return _Outcome(states, verdict, ends[verdict.evidence.best])


@on_its_threads
def run_abinit(config: AbinitConfig, on_event: OnEvent = ignore) -> Path:
    """Reconstruct one or several maps from particles in unknown orientations.

    Parameters
    ----------
    config : AbinitConfig
    on_event : callable
        Is told of progress and decisions, as mappings.

    Returns
    -------
    Path of the output folder, holding class001.mrc ..., particles.star and result.json.

    Raises
    ------
    VitreousError
        For input, options or output that cannot be used; nothing is then left half-written.
    """
    torch.set_deterministic_debug_mode("error")
    began = time.monotonic()
    device = device_for(config.device)
    table = read_particles(config.particles)
    source = open_images(table)
    mask_diameter, warnings, checked = check_abinit(config, table, source)
    source = as_recorded(source, ctf=config.ctf)
    if device.type == "cpu" and not COMPILED:
        warnings.append(NOT_COMPILED)
    grid = common_grid(table)
    warnings += grid_warnings(table, grid)
    frame = working_frame(grid, mask_diameter, config.final_resolution, BEYOND)
    operators = point_group("C1" if config.symmetry == AUTO else config.symmetry)
    plan = memory_plan(config, table, frame, len(operators), device)
    plan.check(table.path)
    inputs = digest_of(table, source)
    with job_folder("abinit", config, on_event, table.stacks) as job:
        on_event = job.tell
        checkpoint = Checkpoint(job.path / CHECKPOINT, config, inputs=inputs, tell=on_event)
        states = checkpoint.read(states_from) if config.resume else []
        on_event({"event": "start", "job": "abinit", "particles": len(table), "warnings": warnings})
        on_event({"event": "memory", **plan.record()})
        mode = CtfMode.of(config)
        images = load_rings(table, source, frame, device, on_event, mode)
        problem = Problem(table, frame, images, operators, device, plan.tiling, config)
        prepared = time.monotonic()
        with one_thread(frame.box <= SMALL_BOX):
            outcome = _search(problem, states, checkpoint, on_event)
        searched = time.monotonic()
        chosen = outcome.chosen
        alike = duplicates(problem.frame, chosen, config.final_resolution)
        labels = class_labels(chosen.maps, chosen.fractions, alike)
        ended, looked_for = last_pass(problem, chosen, source, mode, on_event), None
        if config.symmetry == AUTO:
            ended, looked_for = impose_found(ended, config, mask_diameter, on_event)
        write_results(
            config,
            table,
            grid,
            ended.found,
            _full_size(problem, ended.polished.maps),
            labels,
            out=job.path,
            mask_diameter=mask_diameter,
            resolution=frame.field / frame.rings_at(config.final_resolution),
            starts=_start_records(outcome.states, outcome.verdict.evidence),
            verdict=outcome.verdict,
            preflight=checked,
            symmetry=looked_for.group if looked_for else config.symmetry,
            looked_for=looked_for,
            timings={
                "prepare_s": prepared - began,
                "iterations_s": searched - prepared,
                "final_pass_s": time.monotonic() - searched,
                "total_s": time.monotonic() - began,
            },
            device=str(device),
            warnings=warnings,
        )
        on_event({"event": "done", "out": str(config.out)})
    return config.out
