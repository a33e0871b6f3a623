"""Online EM: the maps after each mini-batch of particles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from jaxtyping import Float, Int
from torch import Tensor

from vitreous.engine.grid_search import Search
from vitreous.engine.loop import Iteration
from vitreous.engine.maps import centre_of_mass, moved, prior_power, solved
from vitreous.engine.model import renewed_noise, renewed_scale
from vitreous.engine.pass_result import PassResult
from vitreous.engine.searches.grid import shares
from vitreous.engine.searches.posterior import PoseEstimates
from vitreous.engine.state import SearchState
from vitreous.reconstruct.accumulator import Accumulator

_NOISE_RATE = 0.3
"""Share of the noise spectra and contrasts renewed by each mini-batch."""


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
    similarity : float
        Class similarity: see :func:`vitreous.engine.searches.grid.shares`.
    """

    stage: str
    resolution: float
    batch: int
    forget: float
    recentre: bool
    similarity: float


def _searched(
    search: Search,
    state: SearchState,
    step: Step,
    index: Int[Tensor, " b"],
    seed: int,
    factor: float,
    centres: Float[Tensor, "n 2"] | None,
) -> PassResult[PoseEstimates]:
    """What a state's maps tell of a mini-batch, under ``factor`` times the noise variance."""
    places = search.places(step.resolution, seed, near=centres is not None)
    if factor == 1:
        places = search.with_junk(places, state, index)
    if centres is not None:
        places = replace(places, origins=centres[index])
    hotter = replace(state, noise=state.noise * factor)
    return search.search(hotter, index, places, similarity=step.similarity)


def _mapped(
    search: Search, state: SearchState, step: Step, batch: Accumulator
) -> tuple[Float[Tensor, "k n n n"], Accumulator]:
    """Maps of the running sums with a mini-batch's, and these sums."""
    frame, sums, prior = search.frame, batch, None
    rings = frame.rings_at(step.resolution)
    if state.sums is not None:
        sums = state.sums.scaled(1 - step.forget).plus(batch)
        prior = prior_power(state.maps, sums, rings, state.rings)
    maps = solved(sums, prior, frame, rings, search.solvent_flatten)
    if step.recentre:
        sums = moved(sums, -centre_of_mass(maps, search.operators), frame.box)
        maps = solved(sums, prior, frame, rings, search.solvent_flatten)
    return maps, sums


def _updated(
    search: Search, state: SearchState, step: Step, result: PassResult[PoseEstimates], factor: float
) -> SearchState:
    """The state after a mini-batch: running sums, maps, noise, contrasts and class priors."""
    assert result.sums is not None
    maps, sums = _mapped(search, state, step, result.sums.scaled(factor))
    particle = result.best.particle_probability
    by_map = shares(result.best.map_probability, step.similarity)
    share = (by_map * particle[:, None]).mean(dim=0) / particle.mean().clamp(min=1e-6)
    weight = step.forget
    return replace(
        state,
        iteration=state.iteration + 1,
        seen=state.seen + step.batch,
        rings=search.frame.rings_at(step.resolution),
        maps=maps,
        noise=renewed_noise(state.noise, result, search.images.mask_share, _NOISE_RATE),
        scale=renewed_scale(state.scale, result, _NOISE_RATE),
        class_priors=(1 - weight) * state.class_priors + weight * share.to(state.class_priors),
        sums=sums,
        evidence=float(result.best.log_evidence.mean()),
        junk=(1 - weight) * state.junk + weight * float(1 - particle.mean()),
    )


def _as_it_is(state: SearchState, step: Step) -> float:
    """The noise variance is taken as it is."""
    return 1.0


def online(
    search: Search,
    steps: Sequence[Step],
    seed: Callable[[SearchState], int],
    factor: Callable[[SearchState, Step], float] = _as_it_is,
    centres: Float[Tensor, "n 2"] | None = None,
) -> Iteration[SearchState, PassResult[PoseEstimates]]:
    """Iterations over mini-batches, one for each step.

    Parameters
    ----------
    seed : callable
        Of the turn of the orientation grid, from the state before a step.
    factor : callable
        On the noise variance, from the state before a step and the step.
    centres : tensor (particles, 2), optional
        Shifts that were found before, working pixels: only their neighbours are tried.
    """

    def expectation(
        state: SearchState, number: int, index: Int[Tensor, " b"]
    ) -> PassResult[PoseEstimates]:
        step = steps[number]
        return _searched(search, state, step, index, seed(state), factor(state, step), centres)

    def maximisation(
        state: SearchState, number: int, index: Int[Tensor, " b"], result: PassResult[PoseEstimates]
    ) -> SearchState:
        step = steps[number]
        return _updated(search, state, step, result, factor(state, step))

    return Iteration(expectation, maximisation)
