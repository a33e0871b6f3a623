"""Ab initio reconstruction: from random density to maps, by stepwise EM over mini-batches."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vitreous.io.mrc import write_map
from vitreous.jobs.checks import check_abinit, device_for
from vitreous.jobs.config import AbinitConfig
from vitreous.jobs.engine import (
    PassResult,
    centre_of_mass,
    constrained,
    moved,
    prior_power,
    renewed_noise,
    solved,
)
from vitreous.jobs.folder import OnEvent, ignore, prepare_folder
from vitreous.jobs.images import load_rings, working_frame
from vitreous.jobs.last_pass import last_pass
from vitreous.jobs.memory import memory_plan
from vitreous.jobs.outputs import write_results
from vitreous.jobs.preflight import contrast_score
from vitreous.jobs.problem import Problem, first_state, iteration_seed, mini_batch
from vitreous.jobs.schedule import Step, noise_factor
from vitreous.jobs.state import SearchState, load_checkpoint, save_checkpoint
from vitreous.jobs.verdict import Verdict, gather_evidence, judge
from vitreous.kernels.compiler import COMPILED, NOT_COMPILED
from vitreous.math.fourier import resample_map
from vitreous.math.symmetry import point_group
from vitreous.particles.stack import open_images
from vitreous.particles.table import read_particles
from vitreous.physics.masks import soft_sphere
from vitreous.search.expectation import shares

_NOISE_RATE = 0.3
"""Share of the noise spectrum renewed by each mini-batch."""

_HELD = 0.3
"""Part of an even share of the particles below which a class is not compared between starts."""

_JUDGES = 1000
"""Particles, about, that the starts are compared on."""


def iterate(problem: Problem, state: SearchState, step: Step) -> tuple[SearchState, PassResult]:
    """One mini-batch: search, update the running sums, solve, constrain, recentre."""
    config, frame = problem.config, problem.frame
    rings = frame.rings_at(step.resolution)
    index = mini_batch(problem, state, step.batch)
    seed = iteration_seed(config, state.start, state.iteration + 1)
    factor = noise_factor(config.noise_halflife, state.seen, len(problem.operators))
    places = problem.places(step.resolution, seed)
    result = problem.search(state, index, state.noise * factor, places, similarity=step.similarity)
    assert result.sums is not None
    batch_sums = result.sums.scaled(factor)
    sums = batch_sums
    if state.sums is not None:
        sums = state.sums.scaled(1 - step.forget).plus(batch_sums)
    prior = None
    if state.sums is not None:
        prior = prior_power(state.maps, sums, rings, state.rings)
    maps = solved(sums, prior, frame, rings, config.flatten)
    if step.recentre:
        centre = centre_of_mass(maps, problem.operators)
        sums = moved(sums, -centre, frame.box)
        maps = solved(sums, prior, frame, rings, config.flatten)
    evidence = float(result.best.log_evidence.mean())
    share = shares(result.best.map_probability, step.similarity).mean(dim=0)
    weight = step.forget
    return (
        SearchState(
            start=state.start,
            iteration=state.iteration + 1,
            seen=state.seen + step.batch,
            rings=rings,
            maps=maps,
            noise=renewed_noise(state.noise, result, problem.images.mask_share, _NOISE_RATE),
            fractions=(1 - weight) * state.fractions + weight * share.to(state.fractions),
            sums=sums,
            evidence=evidence,
        ),
        result,
    )


def run_start(problem: Problem, state: SearchState, on_event: OnEvent) -> Iterator[SearchState]:
    """Yield the state after every iteration that is still to be done."""
    steps = problem.steps
    total = len(steps) * problem.starts
    for step in steps[state.iteration :]:
        began = time.monotonic()
        after, result = iterate(problem, state, step)
        change = (after.maps - state.maps).norm() / after.maps.norm().clamp(min=1e-20)
        state = after
        on_event(
            {
                "event": "iteration",
                "start": state.start + 1,
                "iteration": state.start * len(steps) + state.iteration,
                "of": total,
                "stage": step.stage,
                "resolution": round(step.resolution, 2),
                "angular_sampling": problem.angular_step(step.resolution),
                "batch": step.batch,
                "log_likelihood": state.evidence,
                "max_posterior": float(result.best.probability.mean()),
                "change": float(change),
                "class_fractions": state.fractions.tolist(),
                "seconds": round(time.monotonic() - began, 3),
            }
        )
        yield state


def _full_size(problem: Problem, maps: Tensor) -> np.ndarray:
    """Maps in the box of the first optics group, as images of that box would show them."""
    box = problem.table.optics[0].box
    return resample_map(maps.cpu(), box).numpy()


def _write_intermediate(problem: Problem, state: SearchState, out: Path) -> None:
    folder = out / "iterations"
    folder.mkdir(exist_ok=True)
    for number, volume in enumerate(_full_size(problem, state.maps), 1):
        name = f"start{state.start + 1:02d}_it{state.iteration:03d}_class{number:03d}.mrc"
        write_map(folder / name, volume, problem.table.optics[0].pixel_size)


def _all_starts(
    problem: Problem, states: list[SearchState], on_event: OnEvent
) -> list[SearchState]:
    """Run, or go on with, every start; checkpoint as asked."""
    config, checkpoint = problem.config, problem.config.out / "checkpoint.safetensors"
    length = len(problem.steps)
    while True:
        if not states or (states[-1].iteration >= length and len(states) < problem.starts):
            states = [*states, first_state(problem, len(states))]
        for state in run_start(problem, states[-1].to(problem.device), on_event):
            states = [*states[:-1], state]
            if state.iteration % config.write_every == 0 or state.iteration == length:
                save_checkpoint(checkpoint, states, config)
                _write_intermediate(problem, state, config.out)
                on_event({"event": "checkpoint", "path": checkpoint.name})
        if len(states) == problem.starts:
            return states


def start_evidences(problem: Problem, states: list[SearchState]) -> list[float]:
    """Mean log-evidence of the same particles under one noise spectrum, for every start.

    The starts' own figures come from other mini-batches and noise spectra.
    """
    if len(states) == 1:
        return [states[0].evidence]
    count = len(problem.table)
    index = torch.arange(0, count, max(1, count // _JUDGES))
    noise = torch.stack([state.noise.to(problem.device) for state in states]).mean(dim=0)
    places = problem.places(problem.config.final_resolution)
    results = (
        problem.search(state.to(problem.device), index, noise, places, accumulate=False)
        for state in states
    )
    return [float(result.best.log_evidence.mean()) for result in results]


def verdict_on(problem: Problem, states: list[SearchState], evidences: list[float]) -> Verdict:
    """Judge the maps of all starts; classes that hold next to nothing are left out."""
    frame = problem.frame
    mask = soft_sphere(frame.box, frame.mask_radius, frame.mask_edge)
    maps = []
    for state in states:
        order = state.fractions.argsort(descending=True).tolist()
        held = [number for number in order if state.fractions[number] * len(order) >= _HELD]
        maps.append([state.maps[number].cpu() for number in held])
    return judge(
        gather_evidence(
            maps,
            evidences,
            mask,
            frame.pixel_size,
            contrast_score(problem.images, frame),
            problem.config.final_resolution,
        )
    )


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
    torch.use_deterministic_algorithms(True)
    began = time.monotonic()
    device = device_for(config.device)
    table = read_particles(config.particles)
    source = open_images(table)
    mask_diameter, warnings = check_abinit(config, table)
    if device.type == "cpu" and not COMPILED:
        warnings.append(NOT_COMPILED)
    frame = working_frame(table, mask_diameter, config.final_resolution)
    operators = point_group(config.symmetry)
    plan = memory_plan(config, table, frame, len(operators), device)
    plan.check(table.path)
    prepare_folder(config.out, overwrite=config.overwrite, resume=config.resume)
    checkpoint = config.out / "checkpoint.safetensors"
    states = load_checkpoint(checkpoint, config) if config.resume else []
    on_event({"event": "start", "job": "abinit", "particles": len(table), "warnings": warnings})
    on_event({"event": "memory", **plan.record()})
    images = load_rings(
        table,
        source,
        frame,
        device,
        on_event,
        ctf=config.ctf,
        phase_flipped=config.phase_flipped,
        ignore_until_first_peak=config.ignore_ctf_until_first_peak,
    )
    problem = Problem(config, table, frame, images, operators, device, plan.tiling)
    prepared = time.monotonic()
    states = _all_starts(problem, states, on_event)
    evidences = start_evidences(problem, states)
    chosen = max(range(len(states)), key=lambda i: evidences[i])
    verdict = verdict_on(problem, states, evidences)
    on_event({"event": "verdict", **verdict.record()})
    searched = time.monotonic()
    found, maps = last_pass(problem, states[chosen].to(device), on_event)
    write_results(
        config,
        table,
        found,
        _full_size(problem, constrained(maps, frame, config.flatten)),
        mask_diameter=mask_diameter,
        resolution=frame.field / frame.rings_at(config.final_resolution),
        starts=[
            {"start": i + 1, "log_likelihood": evidence, "chosen": i == chosen}
            for i, evidence in enumerate(evidences)
        ],
        verdict=verdict,
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
