"""Several random starts on the same mini-batches: compared as they go, the weaker ones stopped."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Int
from torch import Tensor

from vitreous.engine.comm import of_all_ranks, ranks
from vitreous.engine.loop import Iteration, run
from vitreous.engine.mini_batches import Step, online
from vitreous.engine.pass_result import PassResult
from vitreous.engine.searches.posterior import PoseEstimates
from vitreous.engine.state import SearchState
from vitreous.ops.threads import interleaved, workers_on
from vitreous.runs.folder import OnEvent
from vitreous.schedules.abinit.context import (
    RunContext,
    first_state,
    held_out,
    iteration_seed,
    mini_batches,
)
from vitreous.schedules.abinit.plan import search_work, work_until
from vitreous.schedules.abinit.schedule import MOST_RECALLED, noise_factor
from vitreous.schedules.abinit.temperature import inflated, is_steered, steered

Save = Callable[[list[SearchState]], None]


@dataclass(frozen=True)
class Trial:
    """What a start's maps make of the held-out particles.

    Attributes
    ----------
    evidence : float
        Mean log-evidence, under the same noise for all starts.
    best : PoseEstimates
    """

    evidence: float
    best: PoseEstimates

    def to(self, device: torch.device) -> Trial:
        """The same on another device."""
        return replace(self, best=self.best.to(device))


def temperature_of(context: RunContext, state: SearchState, step: Step) -> float:
    """As its half-life says, if one is given; else as steered, or 1.

    It is 1 in the final iterations, and all along in starts that are not steered.
    """
    if context.config.noise_halflife > 0:
        return inflated(context.config.noise_halflife, state.seen)
    steers = is_steered(state.start, len(state.maps), polyhedral=context.polyhedral)
    return state.temperature if steers and step.stage != "final" else 1.0


def iterations(
    context: RunContext, steps: list[Step]
) -> Iteration[SearchState, PassResult[PoseEstimates]]:
    """Iterations of a start, whose temperature is steered by how sure its particles are."""

    def seed(state: SearchState) -> int:
        return iteration_seed(context.config, 0, state.iteration + 1)  # the same for all starts

    def factor(state: SearchState, step: Step) -> float:
        temperature = temperature_of(context, state, step)
        return noise_factor(temperature, polyhedral=context.polyhedral)

    plain = online(context, steps, seed, factor)

    def maximisation(
        state: SearchState, number: int, index: Int[Tensor, " b"], result: PassResult[PoseEstimates]
    ) -> SearchState:
        sure = float(result.best.probability.mean())
        following = steered(temperature_of(context, state, steps[number]), sure)
        after = plain.maximisation(state, number, index, result)
        return replace(after, temperature=following)

    return replace(plain, maximisation=maximisation)


def _steps_of(
    context: RunContext, before: SearchState, until: int
) -> Iterator[tuple[SearchState, dict[str, object]]]:
    """The state after every iteration still to be done, and what to tell of it."""
    steps = context.steps[before.iteration : until]
    batches = mini_batches(context, before, [step.batch for step in steps])
    began = time.monotonic()
    searched = run(before, batches, iterations(context, steps))
    for step, (state, result) in zip(steps, searched, strict=True):
        change = (state.maps - before.maps).norm() / state.maps.norm().clamp(min=1e-20)
        yield (
            state,
            {
                "event": "iteration",
                "start": state.start + 1,
                "symmetry": context.config.symmetry,
                "stage": step.stage,
                "resolution": round(step.resolution, 2),
                "angular_sampling": context.angular_step(step.resolution),
                "batch": step.batch,
                "temperature": round(temperature_of(context, before, step), 3),
                "log_likelihood": state.evidence,
                "max_posterior": float(result.best.probability.mean()),
                "change": float(change),
                "class_fractions": state.class_priors.tolist(),
                "seconds": round(time.monotonic() - began, 3),
            },
        )
        before, began = state, time.monotonic()


def tried(context: RunContext, states: list[SearchState], resolution: float) -> list[Trial]:
    """Search the held-out particles with the maps of every start, under their mean noise."""
    index = held_out(context)
    noise = torch.stack([state.noise.to(context.device) for state in states]).mean(dim=0)
    places = context.places(resolution)

    def trial(state: SearchState) -> Trial:
        own = replace(state.to(context.device), noise=noise)
        best = context.search(own, index, places, accumulate=False).best
        return Trial(float(best.log_evidence.mean()), best)

    own = {number: trial(states[number]) for number in ranks().own(len(states))}
    return of_all_ranks(own, len(states), context.device)


def _compared(
    context: RunContext, states: list[SearchState], number: int, keep: int
) -> list[SearchState]:
    """All starts with their held-out evidence; the best ``keep`` have come through this round."""
    resolution = context.steps[states[0].iteration - 1].resolution
    evidences = [trial.evidence for trial in tried(context, states, resolution)]
    through = sorted(range(len(states)), key=lambda i: -evidences[i])[:keep]
    least = evidences[through[-1]]
    return [
        replace(state, evidence=evidence, rounds=number + (i in through), behind=behind)
        for i, (state, evidence, behind) in enumerate(
            zip(states, evidences, (max(0.0, least - one) for one in evidences), strict=True)
        )
    ]


def _exchange(states: list[SearchState], going: list[int], device: torch.device) -> None:
    """Let every rank have the starts of all, in the list itself."""
    own = {place: states[going[place]] for place in ranks().own(len(going))}
    for number, state in zip(going, of_all_ranks(own, len(going), device), strict=True):
        states[number] = state


def _run_rounds(
    context: RunContext, states: list[SearchState], on_event: OnEvent, save: Save
) -> None:
    """Bring all starts on in the list itself, round by round, each by one rank."""
    rounds, workers = context.rounds, workers_on(context.device)
    until = work_until(context)
    iterations_planned = sum(r.contenders * (r.until - r.since) for r in rounds)
    work_planned = search_work(until, rounds)
    for number, this in enumerate(rounds):
        last = number == len(rounds) - 1
        going = [i for i, state in enumerate(states) if state.rounds >= number]
        decided = [states[i].rounds > number for i in going]
        if all(decided) if last else any(decided):
            continue  # before the job was interrupted, or a start was recalled
        ahead = [i for i in going if states[i].iteration < this.until]
        own = [ahead[place] for place in ranks().own(len(ahead))]
        ends = [this.until if i in ahead else state.iteration for i, state in enumerate(states)]
        total = max(iterations_planned, sum(ends))
        whole = max(work_planned, sum(until[end] for end in ends))
        walks = [_steps_of(context, states[i].to(context.device), this.until) for i in own]
        for place, (state, event) in interleaved(walks, max(1, min(workers, len(walks)))):
            states[own[place]] = state
            done = sum(state.iteration for state in states)
            share = sum(until[state.iteration] for state in states) / whole
            on_event({**event, "iteration": done, "of": total, "share": round(share, 4)})
            if state.iteration % context.config.write_every == 0:
                save(states)
        _exchange(states, ahead, context.device)
        keep = len(going) if last else this.keep
        compared = _compared(context, [states[i] for i in going], number, keep)
        after = dict(zip(going, compared, strict=True))
        # At once: a job that is interrupted here saves what is decided for all or for none.
        states[:] = [after.get(i, state) for i, state in enumerate(states)]
        save(states)
        on_event(
            {
                "event": "comparison",
                "resolution": round(context.steps[this.until - 1].resolution, 2),
                "held_out_log_likelihood": {states[i].start + 1: states[i].evidence for i in going},
                "going_on": [states[i].start + 1 for i in going if states[i].rounds > number],
            }
        )


def run_starts(
    context: RunContext, states: list[SearchState], on_event: OnEvent, save: Save, first: int = 0
) -> list[SearchState]:
    """Bring all starts, numbered from ``first``, on, or go on with them, by successive halving.

    Jamieson & Talwalkar, AISTATS, PMLR 51, 240 (2016): all contenders get the same iterations,
    the better part of them the next.

    Returns
    -------
    The states of all starts: those with the most ``rounds`` were finished, the others stopped.
    """
    numbers = range(first, first + context.starts)
    states = list(states) or [first_state(context, number) for number in numbers]
    try:
        _run_rounds(context, states, on_event, save)
    except KeyboardInterrupt:
        save(states)
        raise
    return states


def recalled(states: list[SearchState]) -> list[SearchState]:
    """All states, the likeliest of those that were stopped among the ones that go on to the end.

    Nothing if none was stopped, or enough are finished.
    """
    most = max(state.rounds for state in states)
    stopped = [state for state in states if state.rounds < most]
    if not stopped or len(states) - len(stopped) >= MOST_RECALLED:
        return []
    likeliest = min(stopped, key=lambda state: (-state.rounds, state.behind))
    return [replace(s, rounds=most - 1) if s is likeliest else s for s in states]


def finished(states: list[SearchState]) -> list[SearchState]:
    """The starts that were not stopped."""
    most = max(state.rounds for state in states)
    return [state for state in states if state.rounds == most]
