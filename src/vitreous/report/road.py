"""The steps and decisions of a road, as its page and that of an unfinished one show them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from vitreous.report import page
from vitreous.report.rendering import part


def steps_section(steps: Sequence[Mapping[str, Any]]) -> str:
    """The steps with what came out of each, their pages and commands."""
    rows = [
        {**step, "link": f"./{quote(str(step['folder']))}/report.html", "number": number}
        for number, step in enumerate(steps, 1)
    ]
    said = "Each step is a command in a folder of its own: it can be run again by hand."
    return page.section("Steps", page.paragraph(said), part("steps_table", rows))


def decisions_section(decisions: Sequence[Mapping[str, Any]]) -> str:
    """What was decided between the steps, each with its reason."""
    return page.section(
        "Decisions", page.bullets(f"{one['what']} {one['why']}" for one in decisions)
    )


def so_far(events: Sequence[Mapping[str, Any]]) -> list[str]:
    """Sections on the steps and decisions of a road that has not come to its end."""
    begun = {str(e["folder"]): dict(e) for e in events if e.get("event") == "step"}
    done = {e["folder"]: e["outcome"] for e in _latest(events) if e.get("event") == "step done"}
    steps = [
        {"job": folder.partition("_")[2], "folder": folder, "outcome": outcome,
         "command": begun.get(folder, {}).get("command", "")}
        for folder, outcome in done.items()
    ]  # fmt: skip
    decisions = [e for e in _latest(events) if e.get("event") == "decision"]
    return [
        *([steps_section(steps)] if steps else []),
        *([decisions_section(decisions)] if decisions else []),
    ]


def _latest(events: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """Events since the last process began: a road that is resumed tells of all its steps again."""
    begins = [place for place, event in enumerate(events) if event.get("event") == "process"]
    return events[begins[-1] :] if begins else events
