"""What jobs will take: ``vitreous plan``."""

from __future__ import annotations

import json as text
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from vitreous.cli.app import app
from vitreous.config.abinit import AbinitConfig
from vitreous.config.classify import Classify3dConfig
from vitreous.config.classify2d import Class2dConfig
from vitreous.config.maps import ReconstructConfig
from vitreous.config.refine import RefineConfig
from vitreous.report.terminal import print_lines, print_view

if TYPE_CHECKING:
    from vitreous.jobs.plan.plan import Planned

plans = App(
    name="plan",
    help="Memory, disk and time that a job will take: its arguments follow, nothing is begun.",
)
app.command(plans)

_Json = Annotated[
    Path | None,
    Parameter(
        help="JSON file for the plan; - prints it in place of the tables.",
        allow_leading_hyphen=True,
    ),
]


def _planned(config: Planned, target: Path | None) -> None:
    from vitreous.io.atomic import write_text
    from vitreous.jobs.plan.plan import run_plan
    from vitreous.report.plan import plan_lines, plan_view
    from vitreous.runs.targets import inputs_of, spared

    printed = target == Path("-")
    if target is not None and not printed:
        spared(target, inputs_of(config), overwrite=False)
    plan = run_plan(config)
    written = text.dumps(plan.record(), indent=1)
    if printed:
        print_lines(written)
        return
    if target is not None:
        write_text(target, written + "\n")
    print_view(plan_view(plan))
    print_lines(*plan_lines(plan))


@plans.command
def abinit(config: Annotated[AbinitConfig, Parameter(name="*")], *, json: _Json = None) -> None:
    """Plan vitreous abinit with these arguments."""
    _planned(config, json)


@plans.command
def class2d(config: Annotated[Class2dConfig, Parameter(name="*")], *, json: _Json = None) -> None:
    """Plan vitreous class2d with these arguments."""
    _planned(config, json)


@plans.command
def classify3d(
    config: Annotated[Classify3dConfig, Parameter(name="*")], *, json: _Json = None
) -> None:
    """Plan vitreous classify3d with these arguments."""
    _planned(config, json)


@plans.command
def refine(config: Annotated[RefineConfig, Parameter(name="*")], *, json: _Json = None) -> None:
    """Plan vitreous refine with these arguments."""
    _planned(config, json)


@plans.command
def reconstruct(
    config: Annotated[ReconstructConfig, Parameter(name="*")], *, json: _Json = None
) -> None:
    """Plan vitreous reconstruct with these arguments."""
    _planned(config, json)
