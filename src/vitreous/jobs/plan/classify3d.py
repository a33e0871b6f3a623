"""What a 3D classification will take."""

from __future__ import annotations

from vitreous.config.classify import Classify3dConfig
from vitreous.engine.memory import refine_plan
from vitreous.jobs.classify3d.classify3d import read_inputs
from vitreous.jobs.plan.counted import Counted
from vitreous.runs.folder import check_folder
from vitreous.schedules.class3d.work import ASSUMED, ClassScope, stage_work


def counted(config: Classify3dConfig) -> Counted:
    """Check a job and count its operations.

    Raises
    ------
    VitreousError
        As the job would.
    """
    context, mask = read_inputs(config)
    warnings = [*context.warnings, *(() if mask is None else mask.warnings)]
    options, frame, device = context.options, context.frame, context.device
    check_folder(config, context.table.stacks)
    memory = context.memory
    if options.placed:
        memory = refine_plan(options, context.table, frame.polar.rings, device)
    scope = ClassScope(options, context.table, frame, len(context.references), context.operators)
    stages = stage_work(scope)
    return Counted(len(context.table), device, memory, stages, ASSUMED, warnings)
