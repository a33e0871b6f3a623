"""The optics of particles, refined."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from cyclopts import Parameter

from vitreous.cli.app import app, finished, ran
from vitreous.config.ctf import CtfRefineConfig


def _stands(record: Mapping[str, Any]) -> str:
    return "" if record["significant"] else " (not above noise)"


def _pair(record: Mapping[str, Any], unit: str) -> str:
    values = zip("xy", record["change"], record["errors"], strict=True)
    return ", ".join(f"{axis} {value:+.3g} +- {error:.2g} {unit}" for axis, value, error in values)


def _lines(found: Mapping[str, Any]) -> Iterator[str]:
    from vitreous.validate.optics.significance import standing

    for record in found.get("magnification", ()):
        yield (
            f"Magnification of optics group {record['group']}: anisotropy "
            f"{record['anisotropy_percent']:.2f} %{_stands(record)}"
        )
    for record in found.get("odd_aberrations", ()):
        for name, unit in (("beam_tilt", "mrad"), ("trefoil", "A^3")):
            if name in record:
                words = f"Change of {name.replace('_', ' ')} of optics group {record['group']}"
                yield f"{words}: {_pair(record[name], unit)}{_stands(record[name])}"
    for record in found.get("defocus", ()):
        change, error = (record[name]["median"] for name in ("change", "error"))
        yield (
            f"Defocus of optics group {record['group']}: changed by {change:.0f} A (median), "
            f"uncertain by {error:.0f} A; above noise: {standing(record, change, error)}"
        )
    for record in found.get("astigmatism", ()):
        change, error = (record[f"astigmatism_{n}"]["median"] for n in ("change", "error"))
        yield (
            f"Astigmatism of optics group {record['group']}: changed by {change:.0f} A (median), "
            f"uncertain by {error:.0f} A; above noise: {standing(record, change, error)}"
        )


@app.command
def ctf_refine(config: Annotated[CtfRefineConfig, Parameter(name="*")]) -> None:
    """Refine defocus, astigmatism, beam tilt, trefoil and magnification against a map."""
    from vitreous.jobs.ctf.ctf_refine import run_ctf_refine

    job, found = ran(run_ctf_refine, config)
    finished(job, found, *_lines(found), f"Particles: {job / 'particles.star'}")
