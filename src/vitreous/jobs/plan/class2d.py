"""What a 2D classification will take."""

from __future__ import annotations

from vitreous.config.classify2d import Class2dConfig
from vitreous.jobs.class2d.checks import check_options
from vitreous.jobs.class2d.context import set_up
from vitreous.jobs.plan.counted import Counted
from vitreous.particles.files import read_particles
from vitreous.particles.stack import open_images
from vitreous.runs.folder import check_folder
from vitreous.schedules.class2d.work import ASSUMED, Class2dScope, stage_work


def counted(config: Class2dConfig) -> Counted:
    """Check a job and count its operations.

    Raises
    ------
    VitreousError
        As the job would.
    """
    check_options(config)
    table = read_particles(config.particles)
    context = set_up(table, open_images(table), config)
    check_folder(config, table.stacks)
    stages = stage_work(Class2dScope(context.options, table, context.frame))
    return Counted(len(table), context.device, context.memory, stages, ASSUMED, context.warnings)
