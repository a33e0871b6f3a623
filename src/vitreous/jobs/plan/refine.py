"""What a refinement will take."""

from __future__ import annotations

from vitreous.config.refine import RefineConfig
from vitreous.engine.memory import refine_plan
from vitreous.jobs.plan.counted import Counted
from vitreous.jobs.refine.begin import begin
from vitreous.runs.folder import check_folder
from vitreous.schedules.refine.passes import global_frame
from vitreous.schedules.refine.work import ASSUMED, stage_work


def counted(config: RefineConfig) -> Counted:
    """Check a job and count its operations.

    Raises
    ------
    VitreousError
        As the job would.
    """
    begun = begin(config)
    context = begun.context
    memory = refine_plan(
        config, context.table, context.most_shells, context.device, global_frame(context).polar
    )
    memory.check(context.table.path)
    check_folder(config, context.table.stacks)
    stages = stage_work(begun)
    return Counted(len(context.table), context.device, memory, stages, ASSUMED, begun.warnings)
