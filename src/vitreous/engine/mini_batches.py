"""Online EM: the maps after each mini-batch of particles."""

from __future__ import annotations

from dataclasses import dataclass, replace

from jaxtyping import Int
from torch import Tensor

from vitreous.engine.grid_search import Search
from vitreous.engine.pass_ import (
    PassResult,
    centre_of_mass,
    moved,
    prior_power,
    renewed_noise,
    renewed_scale,
    solved,
)
from vitreous.engine.searches.grid import shares
from vitreous.engine.state import SearchState

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


def stepped(
    search: Search,
    state: SearchState,
    step: Step,
    index: Int[Tensor, " b"],
    seed: int,
    factor: float = 1.0,
) -> tuple[SearchState, PassResult]:
    """Search a mini-batch, update the running sums, solve, constrain, recentre.

    Parameters
    ----------
    index : integer tensor (particles,)
        The mini-batch.
    seed : int
        Of the turn of the orientation grid.
    factor : float
        On the noise variance.
    """
    frame = search.frame
    rings = frame.rings_at(step.resolution)
    places = search.places(step.resolution, seed)
    if factor == 1:
        places = search.with_junk(places, state, index)
    result = search.search(state, index, state.noise * factor, places, similarity=step.similarity)
    assert result.sums is not None
    batch_sums = result.sums.scaled(factor)
    sums = batch_sums
    if state.sums is not None:
        sums = state.sums.scaled(1 - step.forget).plus(batch_sums)
    prior = None
    if state.sums is not None:
        prior = prior_power(state.maps, sums, rings, state.rings)
    maps = solved(sums, prior, frame, rings, search.solvent_flatten)
    if step.recentre:
        centre = centre_of_mass(maps, search.operators)
        sums = moved(sums, -centre, frame.box)
        maps = solved(sums, prior, frame, rings, search.solvent_flatten)
    particle = result.best.particle_probability
    by_map = shares(result.best.map_probability, step.similarity)
    share = (by_map * particle[:, None]).mean(dim=0) / particle.mean().clamp(min=1e-6)
    weight = step.forget
    return (
        replace(
            state,
            iteration=state.iteration + 1,
            seen=state.seen + step.batch,
            rings=rings,
            maps=maps,
            noise=renewed_noise(state.noise, result, search.images.mask_share, _NOISE_RATE),
            scale=renewed_scale(state.scale, result, _NOISE_RATE),
            class_priors=(1 - weight) * state.class_priors + weight * share.to(state.class_priors),
            sums=sums,
            evidence=float(result.best.log_evidence.mean()),
            junk=(1 - weight) * state.junk + weight * float(1 - particle.mean()),
        ),
        result,
    )
