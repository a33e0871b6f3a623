"""A job watched in the terminal, until it ends."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from vitreous.config.projects import WatchConfig
from vitreous.report.job_state import RUNNING, JobState, state_of
from vitreous.report.terminal import Terminal
from vitreous.report.unfinished import state_facts

_EIGHTHS = " ▁▂▃▄▅▆▇█"

_WIDTH, _HEIGHT = 60, 6

_NUMBERS = (
    ("resolution", "resolution (A)"),
    ("log_likelihood", "log-likelihood"),
    ("change", "change of the map"),
)


def columns(values: Sequence[float], height: int) -> list[str]:
    """Values from 0 to 1 as columns of characters, the top line first."""
    eighths = [round(8 * height * min(max(value, 0.0), 1.0)) for value in values]
    return [
        "".join(_EIGHTHS[min(max(one - 8 * line, 0), 8)] for one in eighths)
        for line in reversed(range(height))
    ]


def sampled(values: Sequence[float], width: int) -> list[float]:
    """As many values as fit, evenly taken, the last one among them."""
    if len(values) <= width:
        return list(values)
    return [values[round(place * (len(values) - 1) / (width - 1))] for place in range(width)]


def trace(values: Sequence[float], width: int = _WIDTH) -> str:
    """Values as a line of characters between their least and greatest."""
    low, high = min(values), max(values)
    scaled = [(value - low) / (high - low) if high > low else 0.5 for value in values]
    return columns([0.06 + 0.94 * value for value in sampled(scaled, width)], 1)[0]


def fsc_view(fsc: Sequence[float], width: float) -> RenderableType:
    """An FSC in characters, with the line that it is read at, and resolutions below."""
    shown = sampled(fsc, _WIDTH)
    lines = [
        f"{1 - place / _HEIGHT:4.2f} {line}" for place, line in enumerate(columns(shown, _HEIGHT))
    ]
    last = len(fsc) - 1
    ticks = [f"{width * 2 / max(last, 1):.1f} A", f"{width / max(last, 1):.1f} A"]
    below = " " * 5 + "0".ljust(len(shown) // 2) + ticks[0].ljust(len(shown) - len(shown) // 2 - 5)
    return Group(Text("FSC of the halves (0.143 says the resolution)"),
                 *(Text(line) for line in lines), Text(below + ticks[1]))  # fmt: skip


def _classes_view(shares: Sequence[float]) -> RenderableType:
    table = Table.grid(padding=(0, 1))
    for number, share in enumerate(shares, 1):
        table.add_row(f"class {number}", f"{share:6.1%}", "█" * round(40 * share))
    return table


def state_view(state: JobState) -> RenderableType:
    """How a job stands."""
    facts = Table.grid(padding=(0, 2))
    for name, value, remark in state_facts(state):
        facts.add_row(Text(name, style="bold"), f"{value} {remark}".strip())
    parts: list[RenderableType] = [Text(f"{state.job}: {state.folder}", style="bold"), facts]
    if state.reckoned is not None and state.state == RUNNING:
        done = round(_WIDTH * state.reckoned.share)
        parts.append(Text("━" * done, style="green").append("━" * (_WIDTH - done), style="dim"))
    for field, name in _NUMBERS:
        values = state.series(field)
        if len(values) > 1:
            parts.append(Text(f"{name:<18} {trace(values, 40)} {values[-1]:.4g}"))
    shares = state.last("class_fractions")
    if isinstance(shares, list) and len(shares) > 1:
        parts.append(_classes_view(shares))
    fsc, width = state.last("fsc"), state.last("field")
    if isinstance(fsc, list) and width:
        parts.append(fsc_view(fsc, float(width)))
    result = state.result
    if result.get("verdict"):
        parts.append(Text(f"Verdict: {result['verdict']}. {result.get('sentence', '')}"))
    if result.get("error"):
        parts.append(Text(f"error: {result['error']}", style="red"))
    return Group(*parts)


def watch_job(config: WatchConfig) -> None:
    """Show how a job stands until it ends.

    Raises
    ------
    InputError
        If no job wrote to the folder.
    """
    console, state = Terminal(), state_of(config.job)
    if config.once or not console.is_terminal or state.state != RUNNING:
        console.print(state_view(state))
        return
    with Live(state_view(state), console=console, auto_refresh=False) as live:
        while state.state == RUNNING:
            time.sleep(max(config.every, 0.2))
            state = state_of(config.job)
            live.update(state_view(state), refresh=True)
