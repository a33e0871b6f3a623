"""One whole search: all its starts, the last passes of the likeliest, and the verdict."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from vitreous.engine.comm import of_all_ranks, ranks
from vitreous.engine.grid_search import SMALL_BOX
from vitreous.engine.images import CtfMode
from vitreous.engine.state import SearchState
from vitreous.io.mrc import write_map
from vitreous.math.symmetry import point_group
from vitreous.ops.threads import in_order, one_thread, workers_on
from vitreous.runs.folder import OnEvent
from vitreous.runs.options import AUTO
from vitreous.runs.replacement import has_checkpoint
from vitreous.schedules.abinit.at_last import compared_at_last, may_have_hand
from vitreous.schedules.abinit.classify import Classified, classify
from vitreous.schedules.abinit.context import RunContext
from vitreous.schedules.abinit.evidence import Evidence
from vitreous.schedules.abinit.gather import gather_evidence, stopped_starts
from vitreous.schedules.abinit.inputs import AbinitInputs, context_of
from vitreous.schedules.abinit.last_pass import Ended, coarse_end, last_pass
from vitreous.schedules.abinit.plan import stage_shares
from vitreous.schedules.abinit.starts import finished, recalled, run_starts
from vitreous.schedules.abinit.state import save_checkpoint, states_from
from vitreous.schedules.abinit.verdict import (
    FOUND_NOTHING,
    OF_SHAPE,
    TOLD_AT_LAST,
    Judgement,
    judge,
)
from vitreous.validate.symmetry.point_groups import SymmetryFinding, find_symmetry


@dataclass(frozen=True)
class Searched:
    """Where a search ended.

    Attributes
    ----------
    context : RunContext
    states : list of SearchState
        Of all starts, those before it was begun anew first.
    chosen : SearchState
        Of the likeliest.
    alike : dict
        Of its classes, from 0, the duplicates, and which class shows what each shows.
    ended : Ended
        Its last passes.
    judgement : Judgement
    finding : SymmetryFinding or None
        Of the last map, where none was imposed and the verdict or the user asks for it.
    searched_s, last_s : float
        Seconds that the iterations and the rest took; what came before it was begun anew counts as
        iterations.
    """

    context: RunContext
    states: list[SearchState]
    chosen: SearchState
    alike: dict[int, int]
    ended: Ended
    judgement: Judgement
    finding: SymmetryFinding | None
    searched_s: float
    last_s: float


def _write_intermediate(inputs: AbinitInputs, state: SearchState) -> None:
    folder = inputs.folder / "iterations"
    folder.mkdir(exist_ok=True)
    for number, volume in enumerate(inputs.full_size(state.maps), 1):
        name = f"start{state.start + 1:02d}_it{state.iteration:03d}_class{number:03d}.mrc"
        write_map(folder / name, volume, inputs.grid.pixel_size)


def _run_starts(
    inputs: AbinitInputs,
    context: RunContext,
    before: list[SearchState],
    states: list[SearchState],
    on_event: OnEvent,
) -> list[SearchState]:
    """Starts after those of the round before, with checkpoints and intermediate maps as asked."""
    checkpoint = inputs.checkpoint(on_event)
    # Maps come before the checkpoint: those of states that it holds are there.
    written = {state.start: state.iteration for state in states}

    def save(states: list[SearchState]) -> None:
        for state in states:
            if written.get(state.start) != state.iteration > 0:
                _write_intermediate(inputs, state)
                written[state.start] = state.iteration
        save_checkpoint(checkpoint, [*before, *states])
        on_event({"event": "checkpoint", "path": checkpoint.path.name})

    return run_starts(context, states, on_event, save, len(before))


def _in_parts(on_event: OnEvent, count: int) -> list[OnEvent]:
    """Each is told of one part of a stage, and tells the stage's share, from whatever thread."""
    shares, lock = [0.0] * count, threading.Lock()

    def tell(number: int, event: Mapping[str, Any]) -> None:
        with lock:
            if "share" in event:
                shares[number] = event["share"]
                event = {**event, "share": sum(shares) / count}
            on_event(event)

    return [partial(tell, number) for number in range(count)]


def _classified(
    context: RunContext, states: list[SearchState], on_event: OnEvent
) -> list[Classified]:
    """All particles sorted among the classes of each start, the starts side by side."""
    own = ranks().own(len(states))
    parts = list(zip((states[n] for n in own), _in_parts(on_event, len(own)), strict=True))

    def sort(part: tuple[SearchState, OnEvent]) -> Classified:
        return classify(context, *part)

    found = in_order(sort, parts, workers_on(context.device))
    return of_all_ranks(dict(zip(own, found, strict=True)), len(states), context.device)


@dataclass(frozen=True)
class _StartsRun:
    """Starts that were run.

    Attributes
    ----------
    states : list of SearchState
        Of all of them.
    ends : list of SearchState
        Of those that were finished, after the likeliest of the round before.
    classified : list of Classified
        What the sorting into classes made of ``ends``; empty for a single class.
    evidence : Evidence
    """

    states: list[SearchState]
    ends: list[SearchState]
    classified: list[Classified]
    evidence: Evidence


def _compared_ends(
    context: RunContext, states: list[SearchState], before: Searched | None, on_event: OnEvent
) -> _StartsRun:
    """What the finished of some starts say, together with the likeliest of the round before."""
    ends = [state.to(context.device) for state in finished(states)]
    if before:
        ends = [before.chosen, *ends]
    classified: list[Classified] = []
    if context.config.classes > 1:
        classified = _classified(context, ends, on_event)
        ends = [one.state for one in classified]
    evidence = gather_evidence(context, ends, classified, stopped_starts(context, states))
    if before:
        evidence = replace(evidence, at_first=before.judgement.sentence)
    return _StartsRun(states, ends, classified, evidence)


def _starts_run(
    inputs: AbinitInputs,
    context: RunContext,
    states: list[SearchState],
    before: Searched | None,
    on_event: OnEvent,
) -> _StartsRun:
    """Starts brought to their end and compared.

    Where those of one map find nothing in common, a stopped one goes on, too.
    """
    while True:
        states = _run_starts(inputs, context, before.states if before else [], states, on_event)
        found = _compared_ends(context, states, before, on_event)
        if context.config.classes > 1 or judge(found.evidence).doubt not in FOUND_NOTHING:
            return found
        states = recalled(states)
        if not states:
            return found
        text = "The finished starts find nothing in common: the likeliest of the others goes on."
        on_event({"event": "note", "text": text})


def _symmetry_found(
    inputs: AbinitInputs, ended: Ended, judgement: Judgement
) -> SymmetryFinding | None:
    """The symmetry of a map made without it, if the user or the verdict asks for it."""
    asked = inputs.config.symmetry == AUTO or judgement.doubt in OF_SHAPE
    if not (inputs.free and asked) or inputs.config.classes > 1:
        return None
    return find_symmetry(
        ended.polished.maps[0].cpu(),
        ended.frame.pixel_size,
        inputs.mask_diameter,
        resolution=inputs.config.ends_at,
    )


def _mates(context: RunContext, finding: SymmetryFinding | None) -> Float[Tensor, "s 3 3"]:
    """Rotations that leave the last map as it is."""
    if finding is None or finding.group == "C1":
        return context.operators.double()
    laid = torch.from_numpy(finding.score_of(finding.group).matrix)
    return laid.T @ point_group(finding.group) @ laid


def _run_round(
    inputs: AbinitInputs,
    context: RunContext,
    states: list[SearchState],
    before: Searched | None,
    on_event: OnEvent,
    *,
    last: bool,
) -> Searched:
    """Starts run and judged, together with the likeliest of the round before.

    Where the search's own maps leave a doubt about hand or poses, or agree nearly as far as is
    asked, a second start goes through the last passes, too: these tell.  Starts that found nothing
    and are not the ``last`` go through none.
    """
    began = time.monotonic()
    on_event({"event": "plan", "stages": stage_shares(context)})
    with one_thread(context.frame.box <= SMALL_BOX):
        run = _starts_run(inputs, context, states, before, on_event)
    ends, evidence = run.ends, run.evidence
    judgement, between = judge(evidence), time.monotonic()
    together = replace(context, images=context.images.spread())
    finish = partial(
        last_pass, together, source=inputs.source, mode=CtfMode.of(inputs.config), on_event=on_event
    )
    chosen, second = ends[evidence.best], evidence.nearest
    in_vain = not last and second is None and judgement.doubt in FOUND_NOTHING
    hopeless = evidence.collapsed or in_vain
    ended = coarse_end(together, chosen) if hopeless else finish(chosen)
    finding = _symmetry_found(inputs, ended, judgement)
    doubtful = judgement.doubt in TOLD_AT_LAST and inputs.config.classes == 1
    if doubtful and second is not None and may_have_hand(ended):
        read = None if ended.refinement is None else ended.refinement.images
        other, number = finish(ends[second], images=read), evidence.starts[second]
        mates = _mates(context, finding)
        at_last = compared_at_last(context, ended, other, number, mates)
        if at_last and finding and finding.group == "C1":
            at_last = replace(at_last, stands_out=finding.suggested)
        judgement = judge(replace(evidence, at_last=at_last))
    return Searched(
        context,
        [*(before.states if before else []), *run.states],
        chosen,
        run.classified[evidence.best].alike if run.classified else {},
        ended,
        judgement,
        finding,
        between - began,
        time.monotonic() - between,
    )


def search_within(inputs: AbinitInputs, on_event: OnEvent) -> Searched:
    """A search in a folder of its own within a job's, gone on with where it was interrupted."""
    inputs.folder.mkdir(exist_ok=True)
    states = inputs.checkpoint(on_event).read(states_from) if has_checkpoint(inputs.folder) else []
    return search(inputs, context_of(inputs, on_event), states, on_event)


def search(
    inputs: AbinitInputs, context: RunContext, states: list[SearchState], on_event: OnEvent
) -> Searched:
    """Search from random densities, or go on from ``states``, and judge what comes of it.

    A search whose starts find nothing in common is begun anew with larger mini-batches.
    """
    since, again = context.starts, context.may_begin_anew
    made = _run_round(inputs, context, states[:since], None, on_event, last=not again)
    if made.judgement.doubt in FOUND_NOTHING and again:
        text = f"{made.judgement.sentence} The search is begun anew with larger mini-batches."
        on_event({"event": "note", "text": text})
        first, larger = made, context.anew()
        made = _run_round(inputs, larger, states[since:], first, on_event, last=True)
        spent = first.searched_s + first.last_s
        made = replace(made, searched_s=made.searched_s + spent)
    on_event({"event": "verdict", **made.judgement.record()})
    return made
