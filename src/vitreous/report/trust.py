"""The report's tables on whether to believe the maps: starts compared, input checked."""

from __future__ import annotations

from typing import Any

from vitreous.report import page

_READ_STARTS = (
    "Starts begin from different random densities and see the same images. True maps come out "
    "alike; each false one goes wrong in its own way. The weaker starts are stopped early: their "
    "log-likelihood was so far behind that of the weakest start that went on. The log-likelihood "
    "is that of particles held out of the search (of starts that were stopped, at the detail "
    "reached by then)."
)
_READ_TRIALS = (
    "A sample of the particles is searched from each start. The log-evidence is that of each image "
    "given the map of the half that it is not in, over that of noise: better maps have more."
)
_READ_CHECKS = "What the images and their table tell before a search begins."


def _angstrom(found: dict[str, Any] | None) -> str:
    if found is None:
        return ""
    return "no" if found.get("resolution") is None else f"{found['resolution']:.1f} Å"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.0%}"


def _stopped(start: dict[str, Any]) -> str:
    behind = start.get("behind")
    return "stopped" if behind is None else f"stopped, {behind:.2g} behind"


def _start_rows(result: dict[str, Any]) -> list[list[Any]]:
    """A row for each start: how far it came, and how it compares with the others."""
    evidence = result.get("evidence") or {}
    place = {number: i for i, number in enumerate(evidence.get("starts") or [])}
    rows = []
    for start in result.get("starts") or []:
        row = [start.get("start"), start.get("iterations"), start.get("log_likelihood")]
        i = place.get(start.get("start"))
        if i is None:
            rows.append([*row, _stopped(start), "", *[""] * len(place)])
            continue
        alike = (evidence.get("sorted_alike") or [None] * len(place))[i] or {}
        same = [_percent(evidence["posed_alike"][i]), _percent(alike.get("share"))]
        kept = "kept" if start.get("chosen") else "finished"
        agreements = [_angstrom(found) for found in evidence["pairwise"][i]]
        rows.append([*row, kept, " / ".join(s for s in same if s), *agreements])
    return rows


def _starts_table(result: dict[str, Any]) -> str:
    rows = _start_rows(result)
    if len(rows) < 2:
        return ""
    finished = (result.get("evidence") or {}).get("starts") or []
    header = ["start", "iterations", "log-likelihood", "end", "same poses / classes as the kept"]
    header += [f"agrees with start {number} to" for number in finished]
    return page.paragraph(_READ_STARTS, "note") + page.table(header, rows)


def _checks_table(result: dict[str, Any]) -> str:
    findings = (result.get("preflight") or {}).get("findings") or []
    if not findings:
        return ""
    rows = [[f.get(name) for name in ("level", "what", "evidence", "hint")] for f in findings]
    header = ["level", "finding", "evidence", "what to do"]
    return page.paragraph(_READ_CHECKS, "note") + page.table(header, rows)


def trust_tables(result: dict[str, Any]) -> str:
    """Starts compared with each other, and the findings on the input; empty without either."""
    return _starts_table(result) + _checks_table(result)


def _trials_table(result: dict[str, Any]) -> str:
    tried = (result.get("starts") or {}).get("tried") or []
    if not tried:
        return ""
    rows = [
        [
            one["start"],
            f"{one['resolution']:.1f} Å",
            f"{one['log_evidence']:.2f}",
            "" if one["chosen"] else f"{one['less_than_chosen']:.2f} ± {one['standard_error']:.2f}",
            "chosen" if one["chosen"] else "",
        ]
        for one in tried
    ]
    header = ["searched", "halves agree to", "log-evidence an image", "less than the chosen", ""]
    return page.paragraph(_READ_TRIALS, "note") + page.table(header, rows)


def _evidence_points(evidence: dict[str, Any]) -> list[str]:
    """What the verdict of a refinement rests on, in sentences."""
    points = []
    if evidence["log_evidence"] is not None:
        points.append(
            f"Images: log-evidence {evidence['log_evidence']:.1f} an image over noise; below 0 "
            "they are likelier to be noise than views of the map."
        )
    gain = evidence["gain"]
    if gain is not None:
        points.append(
            f"Search: the last maps fit the sample better than those of its best start by "
            f"{gain['mean']:.2f} ± {gain['error']:.2f} an image."
        )
    points.append(
        f"Hand: the mirror image has {evidence['likeness_to_mirror']:.0%} of the map's finer "
        "signal; a map without a hand is its own mirror image."
    )
    points.append(
        f"Shape: its rotational average holds {evidence['roundness']:.0%} of its variance; that of "
        "a ball holds all."
    )
    return points


def refinement_trust(result: dict[str, Any]) -> str:
    """Verdict of a refinement with its next step, its evidence, and the starts that were tried."""
    starts = (result.get("starts") or {}).get("sentence")
    return (
        page.paragraph(f"{str(result['verdict']).capitalize()}: {result['sentence']}")
        + page.next_step(result["next_step"])
        + page.bullets(_evidence_points(result["evidence"]))
        + (page.paragraph(starts) if starts else "")
        + _trials_table(result)
        + _checks_table(result)
    )
