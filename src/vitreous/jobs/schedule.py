"""What each iteration of ab initio does: resolution, mini-batch, step size."""

from __future__ import annotations

from dataclasses import dataclass

from vitreous.jobs.config import AbinitConfig

_FIRST_STEP, _LAST_STEP = 0.5, 0.15
"""Weight that the oldest sums lose at each iteration, first and last."""

_INFLATION = 8.0
"""Factor on the noise variance at the start, where a half-life is set (RELION's value)."""

_SHARPENING = 0.7
"""Factor on the noise variance in a search with many symmetry mates.  At 1 a map that is its own
mirror image stays so, as every pose ties with the one turned by 180 degrees in the plane."""

_POLYHEDRAL = 12
"""Operators of the smallest polyhedral group: at low resolution its density has no hand."""


@dataclass(frozen=True)
class Step:
    """One iteration.

    Attributes
    ----------
    stage : str
        initial, between or final.
    resolution : float
        Angstrom.
    batch : int
        Particles.
    forget : float
        Share of the running sums that is dropped before the batch's are added: the step size of
        stepwise EM (Cappe & Moulines, J. R. Stat. Soc. B 71, 593 (2009), equation 12).
    recentre : bool
        Whether to bring the maps' centre of mass back to the box centre.
    """

    stage: str
    resolution: float
    batch: int
    forget: float
    recentre: bool


def _given(value: int | None, otherwise: int) -> int:
    return otherwise if value is None else value


def schedule(config: AbinitConfig, particles: int, operators: int) -> list[Step]:
    """All iterations for this many particles and operators; options not given adapt to them.

    Frequency, not resolution, rises evenly over the iterations between.
    """
    initial = _given(config.initial_iterations, 20)
    between = _given(config.between_iterations, 60)
    final = _given(config.final_iterations, 10)
    classes = config.classes
    first_batch = min(particles, _given(config.initial_batch, 100 * classes))
    last_batch = min(particles, _given(config.final_batch, 300 * classes))
    first_resolution = initial_resolution(config, operators)
    steps = []
    for number in range(initial + between + final):
        done = min(max((number - initial + 1) / (between + 1), 0.0), 1.0)
        stage = "initial" if number < initial else "between" if done < 1 else "final"
        frequency = (1 - done) / first_resolution + done / config.final_resolution
        steps.append(
            Step(
                stage,
                1 / frequency,
                round(first_batch + done * (last_batch - first_batch)),
                _FIRST_STEP * (_LAST_STEP / _FIRST_STEP) ** done,
                stage != "final" and number % 3 == 0,
            )
        )
    return steps


def noise_factor(halflife: float, seen: int, operators: int) -> float:
    """Factor on the noise variance after ``seen`` particles, under this many operators."""
    inflated = 1 + (_INFLATION - 1) * 2 ** (-seen / halflife) if halflife > 0 else 1.0
    return inflated * (_SHARPENING if operators >= _POLYHEDRAL else 1.0)


def initial_resolution(config: AbinitConfig, operators: int) -> float:
    """Resolution in angstrom that the search begins at, under this many operators."""
    automatic = 25.0 if operators >= _POLYHEDRAL else 35.0
    return config.initial_resolution or max(automatic, config.final_resolution)
