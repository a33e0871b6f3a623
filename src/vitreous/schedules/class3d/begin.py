"""From references to maps that classes can be told apart by."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from vitreous.config.classify import Classify3dOptions
from vitreous.engine.folds import FoldStep, folds_pass
from vitreous.engine.loop import run
from vitreous.engine.maps import signal_scale
from vitreous.engine.mini_batches import Step, online
from vitreous.engine.model import renewed_noise
from vitreous.engine.pass_result import PassResult
from vitreous.engine.searches.posterior import PoseEstimates
from vitreous.engine.sorting import perturbed
from vitreous.engine.state import SearchState
from vitreous.runs.folder import OnEvent
from vitreous.schedules.class3d.pose_search import GridSearch, NearPoses
from vitreous.schedules.class3d.references import at_images_intensity
from vitreous.schedules.class3d.steps import MapMaking, SearchPoses

_FEWEST, _MOST = 12, 30
"""Mini-batches between which one reference is brought to the resolution limit."""

_FEWEST_OF_SEVERAL = 5
"""Mini-batches at the least for several references: there are fewer, but full ones."""

_NOISE_ROUNDS = 3
"""Rounds of EM for the noise and the shares of several references, before their maps change."""

_FIRST_STEP, _LAST_STEP = 0.5, 0.15
"""Weight that the oldest sums lose at each mini-batch, first and last."""

_GREY_PARTICLES = 500
"""Most particles that a grey level is fitted to."""

_MARCH_TAU2_FUDGE = 4.0
"""Factor on the maps' power as prior before the classes are split."""


def begun(
    maps: Float[Tensor, "k n n n"], noise: Float[Tensor, "g rings"], rings: int
) -> SearchState:
    """State of these maps before anything was searched."""
    return SearchState(
        maps,
        noise,
        class_priors=torch.full((len(maps),), 1 / len(maps), device=maps.device),
        scale=noise.new_ones(len(noise)),
        start=0,
        iteration=0,
        seen=0,
        rings=rings,
        sums=None,
        evidence=-math.inf,
    )


def _seed(options: Classify3dOptions, *numbers: int) -> int:
    return int(np.random.SeedSequence([options.seed, *numbers]).generate_state(1)[0])


def some(particles: int, options: Classify3dOptions) -> Int[Tensor, " b"]:
    """Particles that grey levels and noise are fitted to."""
    order = np.random.default_rng([options.seed, 1]).permutation(particles)
    return torch.from_numpy(np.sort(order[:_GREY_PARTICLES]))


def with_intensity_scale(
    options: Classify3dOptions, state: SearchState, search_poses: SearchPoses, particles: int
) -> SearchState:
    """State whose maps have the images' grey level, if they are to be fitted to it."""
    if options.reference_greyscale == "absolute":
        return state
    return at_images_intensity(state, search_poses, some(particles, options), state.rings)


def with_noise(
    state: SearchState, search_poses: SearchPoses, index: Int[Tensor, " b"], mask_share: float
) -> SearchState:
    """State whose noise and class shares some images have settled, its maps held as they are.

    The noise is first taken to be all of the images' power, under which a map without detail is
    as likely as the right one.
    """
    for _ in range(_NOISE_ROUNDS):
        result = search_poses(state, index, state.rings)
        class_priors = result.best.map_probability.mean(dim=0).clamp(min=1 / len(index))
        state = replace(
            state,
            noise=renewed_noise(state.noise, result, mask_share, 1.0),
            class_priors=(class_priors / class_priors.sum()).to(state.class_priors),
        )
    return state


def guessed_intensity(search: GridSearch, state: SearchState, resolution: float) -> SearchState:
    """State whose every map is about as bright as the images, before any was searched."""
    rings = search.frame.rings_at(resolution)
    scales = [
        signal_scale(one[None], search.images, search.frame, rings, _SHARE) for one in state.maps
    ]
    factors = torch.tensor(scales).to(state.maps)
    return replace(state, maps=state.maps * factors[:, None, None, None])


_SHARE = 0.1
"""Of the images' power at low resolution that references are given at first."""


@dataclass(frozen=True)
class March:
    """Mini-batches that bring references to the resolution limit.

    Attributes
    ----------
    size : int
        Particles of a mini-batch.
    steps : list of Step
    """

    size: int
    steps: list[Step]


def march(options: Classify3dOptions, particles: int, maps: int) -> March:
    """Mini-batches that go once over the particles, or as often as it takes; frequency rises.

    One reference is a mere beginning.  Several are what the particles are sorted by: a map made
    from a few hundred images would be the poorer competitor, beside a decoy that stays as it is.
    """
    whole = min(options.batch_per_class * maps, particles)
    size = whole if maps > 1 else min(whole, max(100, particles // _FEWEST))
    fewest = _FEWEST_OF_SEVERAL if maps > 1 else _FEWEST
    count = min(_MOST, max(fewest, math.ceil(particles / size)))
    first, last = options.first_resolution(maps), options.resolution_limit
    steps = []
    for number in range(count):
        done = number / (count - 1)
        frequency = (1 - done) / max(first, last) + done / last
        forget = _FIRST_STEP * (_LAST_STEP / _FIRST_STEP) ** done
        stage = "initial" if done == 0 else "between" if done < 1 else "final"
        steps.append(Step(stage, 1 / frequency, size, forget, False, 0.0))
    return March(size, steps)


def _batch(options: Classify3dOptions, particles: int, number: int, size: int) -> Int[Tensor, " b"]:
    """The next particles of a walk through random permutations, in stack order."""
    first, chosen = number * size, list[int]()
    while len(chosen) < size:
        epoch, offset = divmod(first + len(chosen), particles)
        order = np.random.default_rng([options.seed, 2, epoch]).permutation(particles)
        chosen += order[offset : offset + size - len(chosen)].tolist()
    return torch.tensor(sorted(chosen))


def marched(
    search: GridSearch, state: SearchState, making: MapMaking, on_event: OnEvent
) -> SearchState:
    """References improved by online EM over mini-batches, all orientations tried for each."""
    options, particles = search.options, len(search.table)
    plan = march(options, particles, len(state.maps))
    batches = (_batch(options, particles, n, plan.size) for n in range(len(plan.steps)))
    first = state.iteration

    def seed(state: SearchState) -> int:
        return _seed(options, 3, state.iteration - first)

    plain = online(search, plan.steps, seed)

    def maximisation(
        state: SearchState, number: int, index: Int[Tensor, " b"], result: PassResult[PoseEstimates]
    ) -> SearchState:
        after = plain.maximisation(state, number, index, result)
        return replace(after, maps=making.allowed(after.maps, state.maps))

    searched = run(state, batches, replace(plain, maximisation=maximisation))
    before = state.maps
    for number, (step, (state, result)) in enumerate(zip(plan.steps, searched, strict=True)):
        on_event(
            {
                "event": "iteration",
                "stage": step.stage,
                "start": 1,
                "iteration": number + 1,
                "of": len(plan.steps),
                "resolution": round(step.resolution, 2),
                "batch": plan.size,
                "log_likelihood": state.evidence,
                "max_posterior": float(result.best.probability.mean()),
                "change": float((state.maps - before).norm() / state.maps.norm().clamp(min=1e-20)),
                "class_fractions": state.class_priors.tolist(),
            }
        )
        before = state.maps
    return replace(state, sums=None)


def consensus(
    pose_search: NearPoses, state: SearchState, making: MapMaking, rings: int, seed: int
) -> SearchState:
    """Maps of all particles near the poses that they came with, in place of the references."""
    folds = pose_search.folds(seed)
    making = replace(making, tau2_fudge=_MARCH_TAU2_FUDGE)
    step = FoldStep(pose_search.searched, making.mapped, pose_search.images.mask_share)
    for used in (state.rings, rings):
        state, folds, _ = folds_pass(state, folds, step, used)
        total = folds.without()
        assert total is not None
        state = making.mapped(state, total, used)
    return state


def split(options: Classify3dOptions, state: SearchState, making: MapMaking) -> SearchState:
    """One map made into several, all a little different."""
    count = options.count(len(state.maps))
    if len(state.maps) == count:
        return state
    parts = [
        perturbed(state.maps[0], state.rings, _seed(options, 4, number)) for number in range(count)
    ]
    class_priors = torch.full((count,), 1 / count, device=state.maps.device)
    return replace(state, maps=making.allowed(torch.stack(parts)), class_priors=class_priors)
