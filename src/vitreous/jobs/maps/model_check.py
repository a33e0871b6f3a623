"""A model against a map: rigid fit, hand, FSC, and correlation by chain and residue."""

from __future__ import annotations

import csv
import time
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from vitreous.config.maps import ModelCheckConfig
from vitreous.imaging.filters import low_pass
from vitreous.io.atomic import atomic_path
from vitreous.io.fsc_xml import write_fsc_xml
from vitreous.io.models import write_moved
from vitreous.io.mrc import write_map
from vitreous.jobs.maps.model_and_map import ModelAndMap, compared, read_model_and_map
from vitreous.runs.folder import OnEvent, ignore, job_folder
from vitreous.runs.options import deterministic, device_for, on_its_threads
from vitreous.runs.record import job_record, write_record
from vitreous.validate.fsc import fsc, resolution_at, shell_frequency
from vitreous.validate.model_fit import Placement, RigidFit, correlation_at, fit_rigidly
from vitreous.validate.model_map import correlation_by_part, nearest_atoms
from vitreous.validate.truth import mirrored

_FIRST = 10.0
"""Angstrom that the fit looks at before the resolution of map and model is known."""

_GAP = 0.05
"""Mean excess of FSC-work over FSC-free that is warned of."""

_POOR = 0.5
"""Correlation of a chain that is warned of."""

_OUTSIDE = 0.01
"""Share of the atoms outside the box that is warned of."""

_XML_TITLE = "Map-to-model FSC"


def _resolution(given: ModelAndMap, placement: Placement) -> float:
    """Where map and model fall to an FSC of 0.5, or the coarsest that a fit begins at."""
    made, mask = compared(given, placement)
    curve = fsc(given.volume * mask.volume, made * mask.volume).cpu().numpy()
    found = resolution_at(curve, 0.5, given.box, given.pixel_size)
    return max(found or _FIRST, 2 * given.pixel_size)


def _fit(
    given: ModelAndMap, config: ModelCheckConfig, on_event: OnEvent
) -> tuple[RigidFit, RigidFit | None, float]:
    """The model in the map, and in its mirror image; and the resolution looked at."""
    steps = 4 if config.fit else 1

    def told(number: int) -> None:
        on_event({"event": "progress", "stage": "fitting", "iteration": number, "of": steps})

    told(0)
    as_given = given.as_given
    centred = given.density_of(given.model.atoms.positions)
    pixel_size = given.pixel_size
    if not config.fit:
        resolution = config.resolution_limit or _resolution(given, as_given)
        found = correlation_at(centred, given.volume, pixel_size, resolution, as_given)
        told(1)
        return RigidFit(as_given, found), None, resolution
    first = config.resolution_limit or max(_FIRST, 2 * pixel_size)
    fit = fit_rigidly(centred, given.volume, pixel_size, resolution=first, starts=[as_given])
    told(1)
    other = mirrored(given.volume)
    mirror = fit_rigidly(centred, other, pixel_size, resolution=first)
    told(2)
    resolution = config.resolution_limit or _resolution(given, fit.placement)
    fits = []
    for number, (volume, start) in enumerate(((given.volume, fit), (other, mirror)), 3):
        begun = [start.placement]
        fits.append(
            fit_rigidly(
                centred, volume, pixel_size, resolution=resolution, starts=begun, anywhere=False
            )
        )
        told(number)
    return fits[0], fits[1], resolution


def _curves(given: ModelAndMap, made: Tensor, mask: Tensor) -> dict[str, Float[np.ndarray, " s"]]:
    """Map-to-model FSC, and with the half-maps if there are any."""
    masked = made * mask
    curves = {
        "masked": fsc(given.volume * mask, masked),
        "unmasked": fsc(given.volume, made),
    }
    for name, half in zip(("work", "free"), given.halves, strict=False):
        curves[name] = fsc(half * mask, masked)
    return {name: curve.cpu().numpy() for name, curve in curves.items()}


def _low_passed(given: ModelAndMap, made: Tensor, resolution: float) -> tuple[Tensor, Tensor]:
    """Map and model without the detail beyond the resolution."""
    return (
        low_pass(given.volume, given.pixel_size, resolution),
        low_pass(made, given.pixel_size, resolution),
    )


def _by_part(
    given: ModelAndMap, placement: Placement, made: Tensor, resolution: float
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Real-space correlation by chain and by residue, both maps low-passed."""
    maps = _low_passed(given, made, resolution)
    model, positions = given.model, given.placed(placement)
    atom = nearest_atoms(positions, given.box, given.pixel_size, resolution)
    chains = list(dict.fromkeys(chain for chain, _, _ in model.residues))
    chain_of_residue = np.array([chains.index(chain) for chain, _, _ in model.residues])

    def by(label: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        # The last label is for voxels near no atom.
        return correlation_by_part(*maps, np.append(label, -1)[atom], count)

    found, size = by(chain_of_residue[model.residue_of], len(chains))
    by_chain = [
        {"chain": chain, "correlation": float(c), "voxels": int(n)}
        for chain, c, n in zip(chains, found, size, strict=True)
    ]
    found, size = by(model.residue_of, len(model.residues))
    by_residue = [
        {"chain": chain, "number": number, "name": name, "correlation": float(c), "voxels": int(n)}
        for (chain, number, name), c, n in zip(model.residues, found, size, strict=True)
    ]
    return by_chain, by_residue


def _write_residues(path: Path, rows: list[dict[str, Any]]) -> None:
    with atomic_path(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows({**row, "correlation": f"{row['correlation']:.4f}"} for row in rows)


def _gap(curves: dict[str, np.ndarray], resolution: float, width: float) -> float | None:
    """Mean of FSC-work less FSC-free out to the resolution."""
    if "work" not in curves:
        return None
    shells = slice(1, max(2, int(width / resolution) + 1))
    return float((curves["work"] - curves["free"])[shells].mean())


def _warnings(result: dict[str, Any], outside: float) -> list[str]:
    found = []
    hands, gap = result["correlation_by_hand"], result["work_less_free"]
    if hands["mirrored"] is not None and hands["mirrored"] > hands["same"]:
        found.append(
            f"The model fits the mirror image better ({hands['mirrored']:.3f}) than the map "
            f"({hands['same']:.3f}): the map may have the other hand."
        )
    if outside > _OUTSIDE:
        found.append(f"{outside:.0%} of the atoms lie outside the map's box.")
    if gap is not None and gap > _GAP:
        found.append(
            f"FSC-work exceeds FSC-free by {gap:.2f} on average: the model is fitted to noise of "
            "the first half-map."
        )
    poor = [row["chain"] for row in result["chains"] if row["correlation"] < _POOR]
    if poor:
        found.append(f"The map hardly shows chain {', '.join(poor)} (correlation below {_POOR}).")
    return found


@on_its_threads
@deterministic
def run_model_check(config: ModelCheckConfig, on_event: OnEvent = ignore) -> Path:
    """Fit a model to a map as a rigid body and tell how far they agree.

    Returns
    -------
    Path of the folder, with the fitted model, model.mrc (its density), fsc.xml, residues.csv and
    result.json.

    Raises
    ------
    VitreousError
        For files, options or a folder that cannot be used.
    """
    began = time.monotonic()
    given = read_model_and_map(config).to(device_for(config.device))
    with job_folder("model-check", config, on_event) as job:
        job.tell({"event": "start", "job": "model-check"})
        fit, mirror, resolution = _fit(given, config, job.tell)
        placement, box, pixel_size = fit.placement, given.box, given.pixel_size
        made, source = compared(given, placement)
        mask = source.volume
        curves = _curves(given, made, mask)
        chains, residues = _by_part(given, placement, made, resolution)
        inside = np.where(mask.cpu().numpy() > 0.5, 0, -1)
        correlation, _ = correlation_by_part(*_low_passed(given, made, resolution), inside, 1)

        suffix = ".pdb" if ".pdb" in config.model.name.lower() else ".cif"
        moved = placement.shift + given.middle - placement.matrix @ given.model.atoms.centre
        write_moved(config.model, job.path / f"fitted{suffix}", placement.matrix, moved)
        write_map(job.path / "model.mrc", made.cpu().numpy(), pixel_size)
        _write_residues(job.path / "residues.csv", residues)
        frequency = shell_frequency(box, pixel_size)
        write_fsc_xml(job.path / "fsc.xml", frequency, curves["masked"], _XML_TITLE)
        far = np.abs(given.placed(placement)).max(axis=1) > box / 2 * pixel_size
        result: dict[str, Any] = {
            **job_record("model-check", config),
            "input": {
                "box": box,
                "pixel_size": pixel_size,
                "origin": given.origin,
                "atoms": len(given.model.atoms.positions),
            },
            "mask": {**source.record, "volume_fraction": float(mask.mean())},
            "fitted": f"fitted{suffix}",
            "fit": {"matrix": placement.matrix, "shift": moved} if config.fit else None,
            "fit_resolution": resolution,
            "correlation": float(correlation[0]),
            "correlation_by_hand": {
                "same": fit.correlation,
                "mirrored": None if mirror is None else mirror.correlation,
            },
            "resolution_05": resolution_at(curves["masked"], 0.5, box, pixel_size),
            "resolution_05_unmasked": resolution_at(curves["unmasked"], 0.5, box, pixel_size),
            "resolution_0143": resolution_at(curves["masked"], 0.143, box, pixel_size),
            "work_less_free": _gap(curves, resolution, box * pixel_size),
            "fsc": {"frequency": frequency, **curves},
            "chains": chains,
            "worst_residues": sorted(residues, key=lambda row: row["correlation"])[:10],
        }
        warnings = [*source.warnings, *_warnings(result, float(far.mean()))]
        result |= {
            "warnings": warnings,
            "timings": {"total_s": round(time.monotonic() - began, 3)},
        }
        write_record(job.path, result)
        job.tell({"event": "done", "out": str(config.out)})
    return config.out
