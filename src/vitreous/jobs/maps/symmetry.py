"""Find a map's point group, lay the map on its axes and impose it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from vitreous.config.maps import SymmetryConfig
from vitreous.errors import InputError, OptionError
from vitreous.imaging.map_grid import cubic, extent
from vitreous.imaging.masks import soft_sphere
from vitreous.io.atomic import write_text
from vitreous.io.mrc import read_map, write_map
from vitreous.io.plain import plain
from vitreous.jobs.compare import checked_diameter
from vitreous.math.symmetry import point_group
from vitreous.runs.folder import OnEvent, ignore
from vitreous.runs.options import deterministic, device_for, on_its_threads
from vitreous.runs.targets import inputs_of, spared
from vitreous.validate.fsc import fsc, resolution_at
from vitreous.validate.symmetry.group_score import GroupScore
from vitreous.validate.symmetry.point_groups import GROUPS, SymmetryFinding, find_symmetry, testable
from vitreous.validate.symmetry.rotate import rotate_map, symmetrise_map

_DEFAULT_RESOLUTION = 10.0
"""Angstrom, where no half-maps tell better."""

_MARGIN, _WIDEST = 1.2, 0.85
"""The default mask over the map's extent, and its largest share of the box."""

_EDGE = 5.0
"""Pixels of the soft edge of the mask that half-maps are compared in."""

Halves = tuple[Float[Tensor, "n n n"], Float[Tensor, "n n n"]]


@dataclass(frozen=True)
class SymmetryResult:
    """What :func:`run_symmetry` found and wrote.

    Attributes
    ----------
    finding : SymmetryFinding
    chosen : GroupScore or None
        Of the group aligned to, or else of the one found; None for C1.
    pixel_size, mask_diameter : float
        Angstrom.
    aligned, table : Path or None
        The map, and the scores as JSON, where written.
    """

    finding: SymmetryFinding
    chosen: GroupScore | None
    pixel_size: float
    mask_diameter: float
    aligned: Path | None
    table: Path | None


def _wanted(config: SymmetryConfig) -> str | None:
    """The point group to align to, ``auto`` or None."""
    if config.align is None:
        if config.impose:
            raise OptionError(
                "needs a group to impose", where="--impose", hint="add --align auto or a group"
            )
        return None
    if config.align.strip().lower() == "auto":
        return "auto"
    return testable(config.align, "--align")


def _halves(
    config: SymmetryConfig, volume: Float[Tensor, "n n n"], pixel_size: float
) -> Halves | None:
    """Half-maps on the map's grid, where given."""
    if config.half1 is None and config.half2 is None:
        return None
    if config.half1 is None or config.half2 is None:
        raise OptionError(
            "one half-map alone does not tell the noise",
            where="--half1, --half2",
            hint="give both or none",
        )
    maps = []
    for path in (config.half1, config.half2):
        array, own = read_map(path)
        maps.append(cubic(array, path).to(volume))
        if maps[-1].shape != volume.shape or abs(own / pixel_size - 1) > 1e-3:
            raise InputError(
                f"has {array.shape[0]} px of {own:g} A, but the map {volume.shape[0]} px of "
                f"{pixel_size:g} A",
                where=path,
                hint="give half-maps of the same box and pixel size as the map's",
            )
    return maps[0], maps[1]


def _resolution(
    config: SymmetryConfig, halves: Halves | None, diameter: float, pixel_size: float
) -> float:
    """Finest detail to look at, angstrom."""
    nyquist = 2 * pixel_size
    if config.resolution_limit is not None:
        if config.resolution_limit < nyquist:
            raise OptionError(
                f"{config.resolution_limit:g} A is finer than two pixels of {pixel_size:g} A",
                where="--resolution-limit",
                hint=f"give at least {nyquist:g}",
            )
        return config.resolution_limit
    if halves is None:
        return max(_DEFAULT_RESOLUTION, nyquist)
    box = halves[0].shape[-1]
    mask = soft_sphere(box, diameter / 2 / pixel_size, _EDGE, 3, halves[0].device)
    curve = fsc(halves[0] * mask, halves[1] * mask).cpu().numpy()
    found = resolution_at(curve, 0.143, box, pixel_size)
    if found is None:
        raise InputError(
            "agrees with the other half-map at no resolution",
            where=config.half1,
            hint="give two half-maps of one particle, in the same place",
        )
    return found


def _targets(config: SymmetryConfig) -> tuple[Path | None, Path | None]:
    """Where the map and the table go, if they are to be written and may be."""
    out = config.out
    if out is None and config.align is None:
        return None, None
    out = out or config.map.with_name(f"{config.map.stem}_symmetry.mrc")
    aligned, table = None if config.align is None else out, out.with_suffix(".json")
    if aligned == table:
        raise OptionError(f"{out} is where the scores go", where="--out", hint="name a map")
    for path in (aligned, table):
        if path is not None:
            spared(path, inputs_of(config), config.overwrite)
    return aligned, table


def _chosen(finding: SymmetryFinding, wanted: str | None, path: Path) -> GroupScore | None:
    """The score of the group to align to, or of the one found."""
    if wanted not in (None, "auto"):
        return finding.scores[0]
    if finding.group != "C1":
        return finding.score_of(finding.group)
    if wanted is None:
        return None
    best = max(finding.scores, key=lambda score: score.relative)
    raise InputError(
        finding.unfit
        or f"no point group holds: {best.group}, the nearest, scores {best.score:.2f} where the "
        f"noise allows {best.allowed:.2f}",
        where=path,
        hint="name a group with --align to use it all the same",
    )


def _counted(groups: tuple[str, ...], on_event: OnEvent) -> Callable[[str], None]:
    """Tell of each group as its test begins."""
    event = {"event": "progress", "stage": "testing point groups", "of": len(groups)}
    return lambda group: on_event({**event, "iteration": groups.index(group)})


def _laid(
    volume: Float[Tensor, "n n n"], chosen: GroupScore, impose: bool
) -> Float[Tensor, "n n n"]:
    if not impose:
        return rotate_map(volume, chosen.matrix, chosen.shift)
    operators = point_group(chosen.group)
    return symmetrise_map(volume, operators, chosen.matrix, chosen.shift)


@on_its_threads
@deterministic
def run_symmetry(config: SymmetryConfig, on_event: OnEvent = ignore) -> SymmetryResult:
    """Score a map's point groups; lay it on the axes of one and impose it, if asked to.

    Raises
    ------
    VitreousError
        For files or options that cannot be used, and where ``auto`` finds no symmetry.
    """
    wanted, (aligned, table) = _wanted(config), _targets(config)
    array, pixel_size = read_map(config.map)
    volume = cubic(array, config.map)
    width = volume.shape[-1] * pixel_size
    diameter = checked_diameter(config.mask_diameter, width)
    diameter = diameter or min(_MARGIN * extent(volume, pixel_size), _WIDEST * width)
    volume = volume.to(device_for(config.device))
    halves = _halves(config, volume, pixel_size)
    groups = GROUPS if wanted is None or wanted == "auto" else (wanted,)
    finding = find_symmetry(
        volume,
        pixel_size,
        diameter,
        resolution=_resolution(config, halves, diameter, pixel_size),
        halves=halves,
        groups=groups,
        on_group=_counted(groups, on_event),
    )
    chosen = _chosen(finding, wanted, config.map)
    if aligned is not None and chosen is not None:
        write_map(aligned, _laid(volume, chosen, config.impose).cpu().numpy(), pixel_size)
    result = SymmetryResult(finding, chosen, pixel_size, diameter, aligned, table)
    if table is not None:
        record = {**asdict(result), "config": asdict(config)}
        write_text(table, json.dumps(plain(record), indent=1) + "\n")
    return result
