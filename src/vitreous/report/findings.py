"""Findings of the pre-flight check on the terminal."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from vitreous.jobs.check.estimates import Estimates
from vitreous.jobs.check.finding import Finding
from vitreous.jobs.check.preflight import Preflight

_COLOURS = {"error": "bold red", "warning": "yellow", "note": "cyan"}


def _described(finding: Finding) -> Text:
    text = Text(f"{finding.level}: {finding.what} ", style=_COLOURS[finding.level])
    text.append(f"[{finding.code}]\n", style="dim")
    text.append(f"  {finding.evidence}\n  ", style="default")
    text.append(f"{finding.hint[:1].upper()}{finding.hint[1:]}.", style="green")
    return text


def _facts(found: Estimates) -> dict[str, str]:
    """Estimates in words; those that could not be made say so."""

    def angstrom(value: float | None) -> str:
        return "not measured" if value is None else f"{value:.0f} A"

    state = None if found.correction is None else found.correction.state
    return {
        "images looked at": str(found.images),
        "contrast": "not measured"
        if found.contrast is None
        else f"{found.contrast:+.0f} standard errors (white particles: plus)",
        "phases and CTF": state or "the images do not tell",
        "particle diameter": angstrom(found.diameter),
        "mask that suits it": angstrom(found.mask_diameter),
        f"CTF spreads detail of {found.resolution:g} A by": angstrom(found.delocalisation),
    }


def findings_view(found: Preflight) -> RenderableType:
    """Estimates, then the findings with their evidence and what mends them."""
    facts = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for name, value in _facts(found.estimates).items():
        facts.add_row(name, value)
    if not found.findings:
        return Group(facts, Text("Nothing to complain of.", style="green"))
    return Group(facts, "", *(_described(finding) for finding in found.findings))
