"""What each iteration of ab initio does: resolution, mini-batch, step size."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from vitreous.config.abinit import AbinitConfig
from vitreous.engine.images import Frame
from vitreous.engine.mini_batches import Step
from vitreous.math.group_names import is_polyhedral
from vitreous.math.so3 import orientations_at

_FIRST_STEP, _LAST_STEP = 0.5, 0.15
"""Weight that the oldest sums lose at each iteration, first and last."""

_SHARPENING = 0.7
"""Factor on the noise variance in a search under T, O or I.  At 1 a map that is its own
mirror image stays so, as every pose ties with the one turned by 180 degrees in the plane."""

_COARSEST_STEP = 15.0
"""Largest angular step in degrees."""

_MOST_ORIENTATIONS = 5000
"""Orientations of the asymmetric unit that an iteration may try: 15 degrees without symmetry."""

_COMPARED_AT = (0.5, 0.75)
"""Parts of the iterations after which the starts are compared and half of them stopped."""

_COMPARED_ONCE_AT = 0.65
"""The same under T, O or I, where all but the last are stopped at once: not before the
final resolution is reached, as the false solutions are the likelier ones at 14 A."""

_SPLIT_ITERATIONS, _SPLIT_FROM, _SPLIT_STEP = 40, 5 / 3, 0.3
"""Of a class that is split: iterations, resolution that they begin at over the final one, and
weight that the oldest sums lose at each."""

_SPLIT_SIMILARITY = 0.3
"""Class similarity of the halves at first, annealed to 0 over the first half of the iterations:
without it one of them may come to hold everything."""

_JOINT_ITERATIONS = 10
"""Of all classes after one was split."""

_BATCHES = (100, 300)
"""Particles of the first mini-batch, and of the last."""

_LARGER = 3
"""Factor on both where a search finds nothing with them."""

_FEWEST = 2
"""Starts that are brought to the end, of more: what they agree on is the evidence."""

MOST_RECALLED = 3
"""Starts that are brought to the end at the most where the first of them find nothing in common."""


@dataclass(frozen=True)
class Round:
    """Iterations that some starts go through before they are compared.

    Attributes
    ----------
    since, until : int
        Iterations done before and after.
    contenders : int
        Starts that go through them.
    keep : int
        Of these, how many go on.
    """

    since: int
    until: int
    contenders: int
    keep: int


def _given(value: int | None, otherwise: int) -> int:
    return otherwise if value is None else value


def schedule(config: AbinitConfig, particles: int) -> list[Step]:
    """All iterations for this many particles; options not given adapt to them.

    Frequency, not resolution, rises evenly over the iterations between.
    """
    initial = _given(config.initial_iterations, 20)
    between = _given(config.between_iterations, 60)
    final = _given(config.final_iterations, 50 if is_polyhedral(config.symmetry) else 10)
    first_batch, last_batch = (min(particles, batch) for batch in batches(config))
    first_resolution = initial_resolution(config)
    similarity = 0.0 if config.skip_anneal else config.class_similarity
    steps = []
    for number in range(initial + between + final):
        done = min(max((number - initial + 1) / (between + 1), 0.0), 1.0)
        stage = "initial" if number < initial else "between" if done < 1 else "final"
        frequency = (1 - done) / first_resolution + done / config.ends_at
        steps.append(
            Step(
                stage,
                1 / frequency,
                round(first_batch + done * (last_batch - first_batch)),
                _FIRST_STEP * (_LAST_STEP / _FIRST_STEP) ** done,
                stage != "final" and number % 3 == 0,
                similarity * (1 - _annealed(number, initial + between, final)),
            )
        )
    return steps


def split_steps(config: AbinitConfig, particles: int) -> list[Step]:
    """All iterations of a class that is split in two, with this many particles."""
    batch, steps = min(particles, batches(config)[1]), []
    for number in range(_SPLIT_ITERATIONS):
        part = number / (_SPLIT_ITERATIONS - 1)
        resolution = config.ends_at / ((1 - part) / _SPLIT_FROM + part)
        similarity = _SPLIT_SIMILARITY * max(1 - 2 * part, 0.0)
        steps.append(Step("split", resolution, batch, _SPLIT_STEP, False, similarity))
    return steps


def joint_steps(config: AbinitConfig, classes: int, particles: int) -> list[Step]:
    """All iterations of so many classes together after one was split."""
    batch = _joint_batch(config, classes, particles)
    return [Step("split", config.ends_at, batch, _SPLIT_STEP, False, 0.0)] * _JOINT_ITERATIONS


def gather_steps(config: AbinitConfig, classes: int, particles: int) -> list[Step]:
    """The same where one of them is begun anew, as coarse as those of a split at first."""
    batch = _joint_batch(config, classes, particles)
    return [replace(s, batch=batch, similarity=0.0) for s in split_steps(config, particles)]


def _joint_batch(config: AbinitConfig, classes: int, particles: int) -> int:
    """Particles of a mini-batch of so many classes together."""
    return min(particles, classes * batches(config)[1] * 3 // 4)


def batches(config: AbinitConfig) -> tuple[int, int]:
    """First and last mini-batch, as given or by default."""
    factor = 2 if config.effort == "high" else 1
    first, last = (factor * batch for batch in _BATCHES)
    return _given(config.initial_batch, first), _given(config.final_batch, last)


def larger_batches(config: AbinitConfig) -> tuple[int, int]:
    """The same for a search that is begun anew."""
    first, last = batches(config)
    return _LARGER * first, _LARGER * last


def starts_of(config: AbinitConfig) -> int:
    """How many random starts a job makes."""
    if config.starts != "auto":
        return config.starts
    normal = 2 if config.classes > 1 else 8 if is_polyhedral(config.symmetry) else 6
    match config.effort:
        case "low":
            return max(2, normal // 2)
        case "high":
            return 2 * normal
    return normal


def rounds(iterations: int, starts: int, *, polyhedral: bool) -> list[Round]:
    """Successive halving: the iterations between comparisons, and how many starts go on."""
    found, since = [], 0
    for part in (_COMPARED_ONCE_AT,) if polyhedral else _COMPARED_AT:
        until = round(part * iterations)
        keep = _FEWEST if polyhedral else max(_FEWEST, (starts + 1) // 2)
        if keep < starts and until > since:
            found.append(Round(since, until, starts, keep))
            since, starts = until, keep
    return [*found, Round(since, iterations, starts, starts)]


def _annealed(number: int, final_begins: int, final: int) -> float:
    """Progress through the first half of the final iterations."""
    return min(max((number + 1 - final_begins) / max(1, final // 2), 0.0), 1.0)


def noise_factor(temperature: float, *, polyhedral: bool) -> float:
    """Factor on the noise variance at a temperature."""
    return temperature * (_SHARPENING if polyhedral else 1.0)


def initial_resolution(config: AbinitConfig) -> float:
    """Resolution in angstrom that the search begins at."""
    automatic = 30.0 if is_polyhedral(config.symmetry) else 35.0
    return config.initial_resolution or max(automatic, config.ends_at)


def angular_step(config: AbinitConfig, resolution: float, frame: Frame, operators: int) -> float:
    """Angular step in degrees for a resolution in angstrom: as asked for, or as needed.

    Fine enough for the rim of the particle (Crowther, DeRosier & Klug, Proc. R. Soc. A 317,
    319 (1970)), as far as the number of orientations allows.
    """
    if config.angular_sampling:
        return config.angular_sampling
    needed = math.degrees(resolution / (frame.mask_radius * frame.pixel_size))
    step = _COARSEST_STEP
    while step > needed and orientations_at(step / 2, operators) <= _MOST_ORIENTATIONS:
        step /= 2
    return step


def last_angular_step(config: AbinitConfig, frame: Frame, operators: int) -> float:
    """Angular step in degrees of the last pass."""
    step = angular_step(config, config.ends_at, frame, operators)
    return config.angular_sampling or step / 2
