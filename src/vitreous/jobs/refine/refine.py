"""Gold-standard refinement: two halves of the particles, each with a map of its own."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from vitreous.io.mrc import write_map
from vitreous.jobs.checkpoint import Checkpoint
from vitreous.jobs.config.refine import RefineConfig
from vitreous.jobs.contents import digest_of
from vitreous.jobs.em.search import SMALL_BOX
from vitreous.jobs.folder import OnEvent, ignore, job_folder
from vitreous.jobs.maps.half_maps import HalfMaps, Mask
from vitreous.jobs.maps.postprocess import judge_half_maps, write_judged
from vitreous.jobs.memory import refine_plan
from vitreous.jobs.options import on_its_threads
from vitreous.jobs.record import job_record, write_record
from vitreous.jobs.refine.begin import Begun, begin, first_state
from vitreous.jobs.refine.gold import Halves, claimed
from vitreous.jobs.refine.passes import (
    Loaded,
    last_pass,
    pass_everywhere,
    pass_nearby,
    told,
)
from vitreous.jobs.refine.state import FREE, RefineState, load_state, save_state
from vitreous.jobs.refine.task import Task
from vitreous.jobs.replacement import CHECKPOINT
from vitreous.kernels.threads import one_thread
from vitreous.math.fourier import (
    resample,
    resample_map,
)
from vitreous.math.rotations import matrix_to_euler
from vitreous.particles.contrast import SCALE
from vitreous.particles.table import write_particles
from vitreous.physics.filters import by_shells
from vitreous.validate.sharpen import fsc_weight


def _iterated(
    task: Task, state: RefineState, loaded: Loaded, checkpoint: Checkpoint, on_event: OnEvent
) -> RefineState:
    """Passes until the resolution and the poses have settled, each ending in a checkpoint."""
    while state.stage != "done" and state.iteration < task.config.iterations:
        one = pass_nearby if state.stage == "nearby" else pass_everywhere
        state = one(task, state, loaded)
        save_state(checkpoint, state)
        told(task, state, on_event)
    return state


def _half_maps(task: Task, halves: Halves) -> HalfMaps:
    """Half-maps and mask on their grid."""
    grid = task.grid
    first, second = resample_map(halves.unfiltered, grid.box)
    mask = resample(halves.mask, grid.box, 3).clamp(0, 1)
    given = task.config.mask
    source = "automatic" if given is None else str(given)
    return HalfMaps(first, second, grid.pixel_size, Mask(mask, {"source": source}))


def _write_particles(task: Task, state: RefineState, out: Path) -> None:
    angles = matrix_to_euler(state.matrices).numpy()
    extra = {
        "rlnRandomSubset": task.half.numpy() + 1,
        "rlnMaxValueProbDistribution": state.probability.numpy(),
        "rlnLogLikeliContribution": state.log_evidence.numpy(),
    }
    if task.config.per_particle_scale or len(task.table.optics) > 1:
        extra[SCALE] = state.scale.double().numpy()
    posed = task.table.with_poses(
        rot=angles[:, 0],
        tilt=angles[:, 1],
        psi=angles[:, 2],
        origin_x=state.origins[:, 0].double().numpy(),
        origin_y=state.origins[:, 1].double().numpy(),
        extra=extra,
    )
    write_particles(out / "particles.star", posed)


def _write(begun: Begun, state: RefineState, halves: Halves, out: Path, began: float) -> None:
    """Maps, particles.star and, last, result.json."""
    task, config, settled = begun.task, begun.task.config, state.stage == "done"
    maps = _half_maps(task, halves)
    judged = judge_half_maps(maps, seed=config.seed)
    whole = by_shells(maps.mean, fsc_weight(judged.curves.corrected))
    for name, volume in (("half1", maps.half1), ("half2", maps.half2), ("map", whole)):
        write_map(out / f"{name}.mrc", volume.numpy(), maps.pixel_size)
    write_judged(out, maps, judged)
    _write_particles(task, state, out)
    part = task.locality is not None and (task.locality.holds or task.mask is not None)
    claim, doubts = claimed(
        judged.record["resolution_0143"],
        shared=config.join_halves,
        lowpass=config.lowpass,
        evidence=None if part else state.evidence,
    )
    warnings = [*begun.warnings, *judged.warnings, *doubts]
    if not settled:
        warnings.append(
            f"The resolution or the poses had not settled after {state.iteration - 1} passes: "
            "resume with more --iterations."
        )
    record: dict[str, Any] = {
        **job_record("refine", config),
        "seed": config.seed,
        "device": str(task.device),
        **maps.record(),
        **judged.record,
        "n_particles": len(task.table),
        "particles_in_halves": torch.bincount(task.half, minlength=2).tolist(),
        "halves": task.halves.record(independent=task.locality is None or not task.halves.dealt),
        "contrast": [
            {"optics_group": group.number, "contrast": float(state.scale[own].mean())}
            for number, group in enumerate(task.table.optics)
            for own in [torch.from_numpy(task.table.group == number)]
        ],
        "symmetry": config.symmetry,
        "mask_diameter": task.mask_diameter,
        "passes": state.iteration,
        "settled": settled,
        "posterior_of_best": float(state.probability.mean()),
        "preflight": begun.preflight,
        "warnings": warnings,
        "timings": {"total_s": round(time.monotonic() - began, 3)},
    }
    if doubts:
        record |= {"resolution_0143": claim, "resolution_0143_interpolated": claim}
    write_record(out, record)


@on_its_threads
def run_refine(config: RefineConfig, on_event: OnEvent = ignore) -> Path:
    """Refine a map and all poses by the gold standard.

    Returns
    -------
    Path of the folder, with map.mrc, half1.mrc, half2.mrc, mask.mrc, sharpened.mrc, fsc.xml,
    particles.star and result.json.

    Raises
    ------
    VitreousError
        For input, options or output that cannot be used; nothing is then left half-written.

    Notes
    -----
    Scheres & Chen, Nat. Methods 9, 853 (2012): the halves are searched with maps of their own,
    filtered by what both agree on.
    """
    torch.set_deterministic_debug_mode("error")
    began = time.monotonic()
    begun = begin(config)
    task, loaded = begun.task, Loaded()
    plan = refine_plan(task.table, task.most_shells, task.device)
    plan.check(task.table.path)
    inputs = digest_of(task.table, task.source, begun.reference, task.mask)
    with job_folder("refine", config, on_event, task.table.stacks) as job:
        start = {"particles": len(task.table), "warnings": begun.warnings}
        job.tell({"event": "start", "job": "refine", **start})
        job.tell({"event": "memory", **plan.record()})
        path = job.path / CHECKPOINT
        checkpoint = Checkpoint(path, config, config.resume, FREE, inputs, job.tell)
        with one_thread(task.grid.box <= SMALL_BOX):
            state = load_state(checkpoint, task.device) if config.resume else first_state(begun)
            state = _iterated(task, state, loaded, checkpoint, job.tell)
            state, halves = last_pass(task, state, loaded)
            told(task, replace(state, shell=max(halves.shell, 1)), job.tell)
            _write(begun, state, halves, job.path, began)
        job.tell({"event": "done", "out": str(config.out)})
    return config.out
