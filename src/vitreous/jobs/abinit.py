"""Ab initio reconstruction: from random density to maps, by stepwise EM over mini-batches."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from vitreous.io.mrc import write_map
from vitreous.jobs.checks import check_abinit, device_for
from vitreous.jobs.config import AbinitConfig
from vitreous.jobs.engine import (
    PADDING,
    PassResult,
    Places,
    centre_of_mass,
    constrained,
    moved,
    prior_power,
    search_pass,
    solved,
)
from vitreous.jobs.folder import OnEvent, ignore, prepare_folder
from vitreous.jobs.images import Frame, RingImages, load_rings, working_frame
from vitreous.jobs.outputs import Found, write_results
from vitreous.jobs.schedule import Step, initial_resolution, noise_factor, schedule
from vitreous.jobs.state import SearchState, load_checkpoint, save_checkpoint
from vitreous.math.fourier import resample_map
from vitreous.math.rotations import matrix_to_euler
from vitreous.math.so3 import OrientationGrid, order_for, orientation_grid
from vitreous.math.symmetry import point_group
from vitreous.particles.stack import open_images
from vitreous.particles.table import ParticleTable, read_particles
from vitreous.physics.project import map_to_cube
from vitreous.search.expectation import references
from vitreous.search.grid import shift_grid
from vitreous.search.posterior import Best

_COARSEST_STEP = 15.0
"""Largest angular step in degrees."""

_MOST_ORIENTATIONS = 5000
"""Orientations of the asymmetric unit that an iteration may try: 15 degrees without symmetry."""

_BLOBS = 12
"""Gaussians in a random starting map."""

_NOISE_RATE = 0.3
"""Share of the noise spectrum renewed by each mini-batch."""


@dataclass(frozen=True)
class Problem:
    """The data and choices that stay the same throughout a job."""

    config: AbinitConfig
    table: ParticleTable
    frame: Frame
    images: RingImages
    operators: Float[Tensor, "s 3 3"]
    device: torch.device

    @property
    def initial_resolution(self) -> float:
        """Resolution in angstrom that the search begins at."""
        return initial_resolution(self.config, len(self.operators))

    @property
    def steps(self) -> list[Step]:
        """All iterations of a start."""
        return schedule(self.config, len(self.table), len(self.operators))

    @property
    def to_working_pixels(self) -> float:
        """Working pixels in a pixel of the stack."""
        return self.table.optics[0].pixel_size / self.frame.pixel_size

    def shifts(self, reach: float, step: float) -> Float[Tensor, "t 2"]:
        """Shift lattice given in pixels of the stack, in working pixels."""
        return shift_grid(reach, step) * self.to_working_pixels

    def angular_step(self, resolution: float) -> float:
        """Angular step in degrees for a resolution in angstrom, if none was asked for.

        Fine enough for the rim of the particle (Crowther, DeRosier & Klug, Proc. R. Soc. A 317,
        319 (1970)), as far as the number of orientations allows.
        """
        if self.config.angular_sampling:
            return self.config.angular_sampling
        needed = math.degrees(resolution / (self.frame.mask_radius * self.frame.pixel_size))
        step = _COARSEST_STEP
        while step > needed:
            order = order_for(step / 2)
            if 72 * 8**order / len(self.operators) > _MOST_ORIENTATIONS:
                break
            step /= 2
        return step

    def orientations(self, step: float, seed: int | None = None) -> OrientationGrid:
        """Grid of the nearest HEALPix step over the asymmetric unit, turned if given a seed."""
        return orientation_grid(order_for(step), self.operators, seed)


def random_maps(problem: Problem, seed: int) -> Float[Tensor, "k n n n"]:
    """Smooth random densities inside the mask, one for each class, at the images' signal level."""
    frame, rng = problem.frame, np.random.default_rng(seed)
    axis = torch.arange(frame.box) - frame.box // 2
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    # As fine as the first iterations can see: a Gaussian's full width at half maximum.
    width = problem.initial_resolution / 2.355 / frame.pixel_size
    maps = torch.zeros(problem.config.classes, frame.box, frame.box, frame.box)
    for volume in maps:
        for _ in range(_BLOBS):
            direction = rng.normal(size=3)
            reach = 0.68 * frame.mask_radius * rng.uniform() ** (1 / 3)
            cx, cy, cz = direction / np.linalg.norm(direction) * reach
            squared = (x - cx) ** 2 + (y - cy) ** 2 + (z - cz) ** 2
            volume += torch.exp(-squared / (2 * width**2))
    return (maps * _signal_scale(problem, maps)).to(problem.device)


def _signal_scale(problem: Problem, maps: Tensor) -> float:
    """Factor that gives slices a tenth of the images' power on the innermost rings."""
    rings = problem.frame.rings_at(problem.initial_resolution)
    polar = problem.frame.polar_at(rings)
    grid = orientation_grid(1, point_group("C1"))
    slices = references(map_to_cube(maps, rings + 1, PADDING), grid, polar)
    some = torch.arange(min(500, len(problem.table)))
    samples, ctf = problem.images.at(some, rings)
    expected = slices.power[0, 0, 0].mean(-1) * (ctf**2).mean(dim=(0, 2)).cpu()
    found = (samples.abs() ** 2).mean(dim=(0, 2)).cpu()
    return math.sqrt(0.1 * float(found[:4].sum() / expected[:4].sum().clamp(min=1e-30)))


def image_power(images: RingImages, groups: int) -> Float[Tensor, "g rings"]:
    """Mean power of each optics group's images on every ring: the first guess of the noise."""
    power = [
        (images.samples[images.group.to(images.samples.device) == g].abs() ** 2).mean(dim=(0, 2))
        for g in range(groups)
    ]
    return torch.stack(power) / images.mask_share


def first_state(problem: Problem, start: int) -> SearchState:
    """Random maps and the images' own power as noise."""
    classes = problem.config.classes
    return SearchState(
        start=start,
        iteration=0,
        seen=0,
        rings=problem.frame.rings_at(problem.initial_resolution),
        maps=random_maps(problem, _seed(problem.config, start, 0)),
        noise=image_power(problem.images, len(problem.table.optics)),
        fractions=torch.full((classes,), 1 / classes, device=problem.device),
        sums=None,
        evidence=-math.inf,
    )


def _seed(config: AbinitConfig, start: int, iteration: int) -> int:
    """A seed of its own for every start and iteration, so that resuming needs no history."""
    sequence = np.random.SeedSequence([config.seed, start, iteration])
    return int(sequence.generate_state(1)[0])


def mini_batch(problem: Problem, state: SearchState, size: int) -> Int[Tensor, " b"]:
    """Next particles of a walk through random permutations, in stack order."""
    count = len(problem.table)
    chosen: list[int] = []
    position = state.seen
    while len(chosen) < size:
        epoch, offset = divmod(position, count)
        rng = np.random.default_rng([problem.config.seed, state.start, epoch])
        part = rng.permutation(count)[offset : offset + size - len(chosen)]
        chosen += part.tolist()
        position += len(part)
    return torch.tensor(sorted(chosen))


def renewed_noise(
    noise: Float[Tensor, "g rings"], result: PassResult, mask_share: float, rate: float
) -> Float[Tensor, "g rings"]:
    """Noise spectra moved towards the residuals of a pass, on the rings it used.

    The mask removes noise power in proportion to its mean square, so the residual is divided by
    that share: the spectrum is that of the unmasked images.
    """
    rings = result.residual.shape[1]
    renewed = noise.clone()
    for group in torch.nonzero(result.count)[:, 0].tolist():
        found = result.residual[group] / (result.count[group] * mask_share)
        found = torch.maximum(found, 0.05 * noise[group, :rings])
        renewed[group, :rings] += rate * (found - noise[group, :rings])
    return renewed


def iterate(problem: Problem, state: SearchState, step: Step) -> tuple[SearchState, PassResult]:
    """One mini-batch: search, update the running sums, solve, constrain, recentre."""
    config, frame = problem.config, problem.frame
    rings = frame.rings_at(step.resolution)
    index = mini_batch(problem, state, step.batch)
    seed = _seed(config, state.start, state.iteration + 1)
    grid = problem.orientations(problem.angular_step(step.resolution), seed)
    shifts = problem.shifts(config.offset_range, config.offset_step)
    factor = noise_factor(config.noise_halflife, state.seen, len(problem.operators))
    result = search_pass(
        state.maps,
        problem.images,
        frame,
        index,
        torch.zeros(len(index), 2),
        state.noise * factor,
        Places(grid, shifts, rings),
        problem.operators,
        state.fractions,
    )
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
    share = result.best.map_probability.mean(dim=0)
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
    total = len(steps) * problem.config.starts
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


def last_pass(problem: Problem, state: SearchState, on_event: OnEvent) -> tuple[Found, Tensor]:
    """Find every particle's pose and make the maps from all of them.

    First the whole grid as in the iterations; then twice as finely in angle over all
    orientations, with shifts of half the step about each particle's best.
    """
    config, frame = problem.config, problem.frame
    everything = torch.arange(len(problem.table))
    rings = frame.rings_at(config.final_resolution)
    coarse = problem.angular_step(config.final_resolution)
    fine_step = config.angular_sampling or coarse / 2
    step = config.offset_step
    places = Places(problem.orientations(coarse), problem.shifts(config.offset_range, step), rings)
    origins = torch.zeros(len(everything), 2)

    def look(maps: Tensor, places: Places, origins: Tensor, accumulate: bool) -> PassResult:
        return search_pass(
            maps,
            problem.images,
            frame,
            everything,
            origins,
            state.noise,
            places,
            problem.operators,
            state.fractions,
            accumulate=accumulate,
        )

    first = look(state.maps, places, origins, accumulate=False)
    on_event({"event": "final_pass", "stage": "last pass", "iteration": 1, "of": 2})
    origins = places.shifts[first.best.shift.cpu()]
    fine = Places(
        problem.orientations(fine_step),
        problem.shifts(0.75 * step, step / 2),
        rings,
    )
    second = look(state.maps, fine, origins, accumulate=True)
    assert second.sums is not None
    on_event({"event": "final_pass", "stage": "last pass", "iteration": 2, "of": 2})
    prior = prior_power(state.maps, second.sums, rings, state.rings)
    maps = solved(second.sums, prior, frame, rings, config.flatten)
    origins = origins + fine.shifts[second.best.shift.cpu()]
    noise = renewed_noise(state.noise, second, problem.images.mask_share, 1.0)
    return _found(problem, fine.orientations, second.best, origins, noise, state), maps


def _found(
    problem: Problem,
    grid: OrientationGrid,
    best: Best,
    origins: Tensor,
    noise: Tensor,
    state: SearchState,
) -> Found:
    directions = len(grid.directions)
    reference, psi = best.reference.cpu(), best.psi.cpu()
    matrices = grid.matrices(reference % directions, psi)
    return Found(
        angles=matrix_to_euler(matrices).numpy(),
        origins=(origins * problem.frame.pixel_size).double().numpy(),
        classes=(reference // directions).numpy() + 1,
        probability=best.probability.cpu().numpy(),
        log_evidence=best.log_evidence.cpu().numpy(),
        noise=noise.cpu().numpy(),
        frequency=(problem.frame.polar.radii() / problem.frame.field).numpy(),
    )


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
        if not states or (states[-1].iteration >= length and len(states) < config.starts):
            states = [*states, first_state(problem, len(states))]
        for state in run_start(problem, states[-1].to(problem.device), on_event):
            states = [*states[:-1], state]
            if state.iteration % config.write_every == 0 or state.iteration == length:
                save_checkpoint(checkpoint, states, config)
                _write_intermediate(problem, state, config.out)
                on_event({"event": "checkpoint", "path": checkpoint.name})
        if len(states) == config.starts:
            return states


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
    frame = working_frame(table, mask_diameter, config.final_resolution)
    prepare_folder(config.out, overwrite=config.overwrite, resume=config.resume)
    checkpoint = config.out / "checkpoint.safetensors"
    states = load_checkpoint(checkpoint, config) if config.resume else []
    on_event({"event": "start", "job": "abinit", "particles": len(table), "warnings": warnings})
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
    operators = point_group(config.symmetry)
    problem = Problem(config, table, frame, images, operators, device)
    prepared = time.monotonic()
    states = _all_starts(problem, states, on_event)
    chosen = max(range(len(states)), key=lambda i: states[i].evidence)
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
            {"start": s.start + 1, "log_likelihood": s.evidence, "chosen": i == chosen}
            for i, s in enumerate(states)
        ],
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
