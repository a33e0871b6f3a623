"""What a plan says, for the terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group
from rich.table import Table

from vitreous.jobs.plan.plan import Images, Plan
from vitreous.report.progress import duration


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:.2f} GB"


def _memory(plan: Plan) -> Table:
    table = Table("memory", "", title="Memory at the fullest")
    there = f" on {plan.device}" if plan.on_device else ""
    for parts, where in ((plan.host, " on the host" if there else ""), (plan.on_device, there)):
        for name, size in parts.items():
            table.add_row(f"{name}{where}", _gigabytes(size))
        if parts:
            table.add_row(f"in all{where}", _gigabytes(sum(parts.values())), style="bold")
    if plan.may_take is not None:
        table.add_row(f"the job may take{there}", _gigabytes(plan.may_take))
    return table


def _stages(plan: Plan) -> Table:
    table = Table("stage", "time", title="Time, where nothing else keeps the machine busy")
    for name, seconds in plan.seconds.items():
        if seconds > 0:
            table.add_row(name, duration(seconds))
    table.add_row("in all", duration(plan.total_seconds), style="bold")
    return table


def _kept(images: Images) -> str:
    if images.all == 0:
        return "Each image is read once; none is kept."
    held = f"Images take {_gigabytes(images.all)}; memory holds {_gigabytes(images.held)} of it"
    if images.scratch > 0:
        return f"{held}, and a file of {_gigabytes(images.scratch)} in --scratch the others."
    if images.read_again:
        return f"{held}, the others are read again whenever they are needed (--scratch)."
    return f"{held}; no scratch disk is needed."


def plan_view(plan: Plan) -> Group:
    """Tables of memory and time."""
    return Group(_memory(plan), _stages(plan))


def plan_lines(plan: Plan) -> Iterator[str]:
    """What the tables leave out."""
    yield _kept(plan.images)
    if plan.assumed:
        yield f"Assumed, as the search itself decides it: {'; '.join(plan.assumed)}."
    yield from (f"Warning: {warning}" for warning in plan.warnings)
    yield f"{plan.particles:,} particles, {plan.device}, {plan.threads} threads. Nothing was begun."
