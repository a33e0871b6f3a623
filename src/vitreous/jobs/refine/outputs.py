"""What a refinement leaves behind: maps, particles, and what is said of them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from vitreous.engine.assignments import input_record
from vitreous.imaging.filters import by_shells
from vitreous.imaging.masks import mask_in_box
from vitreous.io.mrc import write_map
from vitreous.jobs.maps.half_maps import HalfMaps, Mask
from vitreous.jobs.maps.postprocess import judge_half_maps, write_judged
from vitreous.math.fourier import resample_map
from vitreous.math.group_names import is_polyhedral
from vitreous.math.rotations import matrix_to_euler
from vitreous.particles.files import write_particles
from vitreous.particles.poses import Poses
from vitreous.runs.record import job_record, write_record
from vitreous.schedules.refine.choice import surplus
from vitreous.schedules.refine.context import SHARED_POSES, Begun, RunContext
from vitreous.schedules.refine.gold import Halves, claimed
from vitreous.schedules.refine.state import RefineState
from vitreous.schedules.refine.verdict import Evidence, Gain, judge
from vitreous.validate.decoys import roundness
from vitreous.validate.reproducibility import likeness_to_mirror
from vitreous.validate.sharpen import fsc_weight


def _half_maps(context: RunContext, halves: Halves) -> HalfMaps:
    """Half-maps and mask on their grid."""
    grid = context.grid
    first, second = resample_map(halves.unfiltered, grid.box)
    mask = mask_in_box(halves.mask, grid.box)
    given = context.config.mask
    source = "automatic" if given is None else str(given)
    return HalfMaps(first, second, grid.pixel_size, Mask(mask, {"source": source}))


def _write_particles(context: RunContext, state: RefineState, out: Path) -> None:
    angles = matrix_to_euler(state.matrices).numpy()
    posed = context.table.with_fields(
        **Poses(angles, state.origins.double().numpy()).fields,
        half=context.half.numpy() + 1,
        posterior=state.probability.numpy(),
        log_likelihood=state.log_evidence.numpy(),
    )
    if context.config.per_particle_scale or len(context.table.optics) > 1:
        posed = posed.with_fields(scale=state.scale.double().numpy())
    write_particles(out / "particles.star", posed, write=context.config.write)


@dataclass(frozen=True)
class Ended:
    """How a search ended.

    Attributes
    ----------
    state : RefineState
    halves : Halves
        Of the last pass.
    fit : tensor (sample,) or None
        Log-evidence of the images that starts were tried on, given the last maps.
    """

    state: RefineState
    halves: Halves
    fit: Float[Tensor, " n"] | None


def _seen(context: RunContext, state: RefineState) -> float | None:
    """Mean log-evidence of an image; None where too little is refined to be seen in one."""
    part = context.locality is not None and (context.locality.holds or context.mask is not None)
    return None if part else state.evidence


def _gain(ended: Ended) -> Gain | None:
    """What the last maps have gained over those of the best trial."""
    choice = ended.state.choice
    if choice is None or ended.fit is None:
        return None
    best = int(choice.fits.mean(dim=1).argmax())
    return Gain(choice.starts[best], *surplus(ended.fit, choice.fits[best]))


def write_results(begun: Begun, ended: Ended, out: Path, began: float) -> None:
    """Maps, particles.star and, last, result.json."""
    context, state, config = begun.context, ended.state, begun.context.config
    maps = _half_maps(context, ended.halves)
    judged = judge_half_maps(maps, seed=config.seed)
    whole = by_shells(maps.mean, fsc_weight(judged.curves.corrected)).cpu()
    mask = maps.mask.volume.cpu()
    for name, volume in (("half1", maps.half1), ("half2", maps.half2), ("map", whole)):
        write_map(out / f"{name}.mrc", volume.cpu().numpy(), maps.pixel_size)
    write_judged(out, maps, judged)
    _write_particles(context, state, out)
    claim, doubts = claimed(
        judged.record["resolution_0143"],
        shared=config.join_halves,
        lowpass=config.lowpass if state.choice is None else state.choice.start.lowpass,
        evidence=_seen(context, state),
    )
    evidence = Evidence(
        log_evidence=_seen(context, state),
        resolution=claim,
        beyond_shared=not doubts,
        gain=_gain(ended),
        roundness=roundness(whole * mask),
        likeness_to_mirror=likeness_to_mirror(
            whole, mask, maps.pixel_size, judged.curves.corrected
        ),
        polyhedral=is_polyhedral(context.config.symmetry),
        posterior_of_best=float(state.probability.mean()),
        settled=state.stage == "done",
    )
    record: dict[str, Any] = {
        **job_record("refine", config),
        **judge(evidence, config).record(),
        "starts": None if state.choice is None else state.choice.record(),
        "seed": config.seed,
        "device": str(context.device),
        "input": input_record(context.table, context.grid),
        "noise": _noise_record(context, state),
        **maps.record(),
        **judged.record,
        "n_particles": len(context.table),
        "particles_in_halves": torch.bincount(context.half, minlength=2).tolist(),
        "halves": context.halves.record(independent=not _shares_poses(context, state)),
        "contrast": [
            {"optics_group": group.number, "contrast": float(state.scale[own].mean())}
            for number, group in enumerate(context.table.optics)
            for own in [torch.from_numpy(context.table.group == number)]
        ],
        "symmetry": config.symmetry,
        "mask_diameter": context.mask_diameter,
        "passes": state.iteration,
        "settled": evidence.settled,
        "posterior_of_best": evidence.posterior_of_best,
        "preflight": begun.preflight,
        "warnings": [*begun.warnings, *judged.warnings, *doubts, *_warnings(context, state)],
        "timings": {"total_s": round(time.monotonic() - began, 3)},
    }
    if doubts:
        record |= {"resolution_0143": claim, "resolution_0143_interpolated": claim}
    write_record(out, record)


def _noise_record(context: RunContext, state: RefineState) -> list[dict[str, Any]]:
    """Noise spectrum of each optics group as both halves see it, as far as its pixels hold it."""
    frequency = torch.arange(state.noise.shape[2]) / context.field
    return [
        {"optics_group": group.number, "frequency": frequency[held], "sigma2": spectrum[held]}
        for group, spectrum in zip(context.table.optics, state.noise.mean(dim=0).cpu(), strict=True)
        for held in [(frequency > 0) & (frequency < 0.5 / group.pixel_size)]
    ]


def _shares_poses(context: RunContext, state: RefineState) -> bool:
    """Whether the search began from poses that were not found in these halves."""
    chosen = state.choice is not None and state.choice.start.posed
    return (chosen or context.locality is not None) and context.halves.dealt


def _warnings(context: RunContext, state: RefineState) -> list[str]:
    """What the search itself must say; of a local search asked for it is said at the start."""
    warnings = []
    if context.locality is None and _shares_poses(context, state):
        warnings.append(SHARED_POSES)
    if state.stage != "done":
        warnings.append(
            f"The resolution or the poses had not settled after {state.iteration - 1} passes: "
            "resume with more --iterations."
        )
    return warnings
