"""Ab initio reconstruction: from random density to maps, by stepwise EM over mini-batches."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from vitreous.config.abinit import AbinitConfig
from vitreous.jobs.abinit.begin import begin
from vitreous.jobs.abinit.impose import symmetrised_search
from vitreous.jobs.abinit.next_step import Ending, with_next_step
from vitreous.jobs.abinit.outputs import AbinitResult, SymmetrySearch, write_results
from vitreous.runs.folder import OnEvent, ignore, job_folder
from vitreous.runs.options import AUTO, deterministic, on_its_threads
from vitreous.schedules.abinit.inputs import AbinitInputs, context_of
from vitreous.schedules.abinit.rest import posed_rest
from vitreous.schedules.abinit.searched import Searched, search
from vitreous.schedules.abinit.several import with_several_classes
from vitreous.schedules.abinit.state import states_from
from vitreous.schedules.abinit.verdict import Judgement


def _advised(
    inputs: AbinitInputs, first: Searched, final: Searched, symmetry: SymmetrySearch | None
) -> Judgement:
    """The verdict with what to do next."""
    proposed = None if first.finding is None else first.finding.suggested
    ending = Ending(
        config=inputs.config,
        stack=inputs.table.stacks[0],
        finest=inputs.grid.nyquist,
        particles=len(inputs.table),
        proposed=proposed,
        evidence=first.finding.score_of(proposed).evidence if first.finding and proposed else 0.0,
        refuted=symmetry is not None and symmetry.refuted,
    )
    return with_next_step(final.judgement, ending)


@on_its_threads
@deterministic
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
    began = time.monotonic()
    begun = begin(config)
    inputs, every, used, warnings = begun.inputs, begun.every, begun.used, begun.warnings
    config, table = inputs.config, inputs.table
    with job_folder("abinit", config, on_event, table.stacks) as job:
        on_event, inputs = job.tell, inputs.in_folder(job.path)
        states = inputs.checkpoint(on_event).read(states_from) if config.resume else []
        on_event({"event": "start", "job": "abinit", "particles": len(table), "warnings": warnings})
        context = context_of(inputs, on_event)
        prepared = time.monotonic()
        first = search(inputs, context, states, on_event)
        final, symmetry = first, None
        if config.symmetry == AUTO:
            final, symmetry = symmetrised_search(inputs, first, on_event)
        mixed = config.effort == "high" and config.classes == 1
        if mixed and final.judgement.word != "solved":
            final = with_several_classes(inputs, final, on_event)
        found = final.ended.found
        if config.pose_all and len(used) < len(every[0]):
            inputs = replace(inputs, table=every[0], source=every[1])
            found = posed_rest(inputs, final, used, on_event)
        timings = {
            "prepare_s": prepared - began,
            "iterations_s": first.searched_s,
            "final_pass_s": time.monotonic() - prepared - first.searched_s,
            "total_s": time.monotonic() - began,
        }
        verdict = _advised(inputs, first, final, symmetry)
        result = AbinitResult(
            inputs, final, found, verdict, symmetry, begun.preflight, warnings, timings
        )
        write_results(result)
        on_event({"event": "done", "out": str(config.out)})
    return config.out
