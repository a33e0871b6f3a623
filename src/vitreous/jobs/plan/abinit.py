"""What ab initio will take."""

from __future__ import annotations

from vitreous.config.abinit import AbinitConfig
from vitreous.engine.work import Work
from vitreous.jobs.abinit.begin import begin
from vitreous.jobs.plan.counted import Counted
from vitreous.runs.folder import check_folder
from vitreous.schedules.abinit.work import ASSUMED, AbinitScope, stage_work


def counted(config: AbinitConfig) -> Counted:
    """Check a job and count its operations.

    Raises
    ------
    VitreousError
        As the job would.
    """
    begun = begin(config)
    inputs = begun.inputs
    check_folder(inputs.config, inputs.table.stacks)
    scope = AbinitScope(inputs.config, inputs.table, inputs.frame, len(inputs.operators))
    stages = {"starting": Work(starting=1.0), **stage_work(scope)}
    if inputs.config.pose_all:
        left = len(begun.every[0]) - len(begun.used)
        stages["other particles posed"] = scope.searched(
            left, inputs.config.ends_at, inputs.config.classes
        )
    return Counted(len(inputs.table), inputs.device, inputs.memory, stages, ASSUMED, begun.warnings)
