"""What ChimeraX opens of a job: a script (.cxc), and viewing directions and axes (.bild)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from vitreous.conventions import centre
from vitreous.errors import VitreousError
from vitreous.io.atomic import write_text
from vitreous.io.mrc import read_header
from vitreous.math.cells import cell_of
from vitreous.math.so3 import healpix_axes
from vitreous.math.symmetry import point_group
from vitreous.particles.files import read_columns
from vitreous.particles.particle_set import ParticleSet

SCRIPT, VIEWS, AXES = "view.cxc", "views.bild", "axes.bild"

_MAPS = ("sharpened.mrc", "map.mrc", "class???.mrc", "locally_filtered.mrc")
_HALVES = ("half1.mrc", "half2.mrc")
_LEVEL = 4
"""Standard deviations above the mean at which maps are shown."""

_ORDER = 3
"""HEALPix order of the directions that views are counted in: 768."""

_LONGEST = 0.35
"""Length of the longest bar, of the box's side."""


def views_bild(
    rot: Float[np.ndarray, " n"], tilt: Float[np.ndarray, " n"], side: float, middle: float
) -> str:
    """Bars round a map, one for each direction with views: longer and redder the more there are.

    Parameters
    ----------
    rot, tilt : arrays (n,)
        Degrees.
    side : float
        Of the box, angstrom; the bars begin at a sphere that touches it.
    middle : float
        Coordinate of the map's centre along every axis, angstrom.
    """
    cells = cell_of(rot, tilt, _ORDER)
    there, counts = np.unique(cells, return_counts=True)
    axes = healpix_axes(_ORDER).numpy()
    lines = []
    for cell, share in zip(there.tolist(), (counts / counts.max()).tolist(), strict=True):
        first = middle + axes[cell] * side / 2
        last = middle + axes[cell] * side * (0.5 + _LONGEST * share)
        lines.append(f".color {share:.3f} 0.1 {1 - share:.3f}")
        ends = " ".join(f"{v:.2f}" for v in (*first, *last))
        lines.append(f".cylinder {ends} {side / 100:.2f}")
    return "\n".join(lines) + "\n"


def axes_bild(symmetry: str, side: float, middle: float) -> str:
    """Axes of a point group, each through the map's centre; empty for C1.

    Raises
    ------
    OptionError
        For a name that is no point group.
    """
    operators = point_group(symmetry).numpy()
    axes: dict[tuple[float, ...], int] = {}
    for operator in operators:
        turn = np.arccos(np.clip((np.trace(operator) - 1) / 2, -1, 1))
        if turn < 1e-6:
            continue
        axis = np.linalg.eigh(operator + operator.T)[1][:, -1]  # that of the greatest eigenvalue
        axis = axis.round(4)
        axis = axis * np.sign(axis[np.flatnonzero(axis)[0]]) + 0.0
        key = tuple(axis.tolist())
        axes[key] = max(axes.get(key, 0), round(2 * np.pi / turn))
    colours = {2: "0.2 0.4 0.9", 3: "0.1 0.7 0.2", 4: "0.9 0.6 0.1", 5: "0.8 0.1 0.6"}
    lines = []
    for key, fold in sorted(axes.items(), key=lambda item: -item[1]):
        half = np.array(key) * side * 0.6
        ends = np.concatenate([middle - half, middle + half])
        lines.append(f".color {colours.get(fold, '0.8 0.1 0.1')}")
        lines.append(f".cylinder {' '.join(f'{v:.2f}' for v in ends)} {side / 150:.2f}")
    return "\n".join(lines) + "\n" if lines else ""


def _maps(folder: Path) -> list[Path]:
    found = [path for name in _MAPS for path in sorted(folder.glob(name))]
    return found or [path for name in _HALVES if (path := folder / name).is_file()]


def _script(folder: Path, extras: list[str], models: list[Path]) -> Iterator[str]:
    """Lines of the script; files are named as they lie beside it."""
    maps = _maps(folder)
    yield f"open {' '.join(path.name for path in maps)}"
    for number, path in enumerate(maps, 1):
        yield f"volume #{number} sdLevel {_LEVEL} step 1"
        yield f"rename #{number} {path.stem}"
    local = folder / "local_resolution.mrc"
    if local.is_file():
        yield f"open {local.name}"
        yield f"color sample #1 map #{len(maps) + 1} palette rainbow"
        yield f"volume #{len(maps) + 1} hide"
    for path in models:
        yield f"open {path.name}"
    for name in extras:
        yield f"open {name}"
    yield "lighting soft"
    yield "view"


def _views_of(folder: Path) -> tuple[np.ndarray, np.ndarray] | None:
    """Rot and tilt of a job's particles; None if it left none."""
    path = folder / "particles.star"
    if not path.is_file():
        return None
    found = read_columns(path, ParticleSet.rot, ParticleSet.tilt)
    rot, tilt = found.read(ParticleSet.rot), found.read(ParticleSet.tilt)
    return None if rot is None or tilt is None else (rot, tilt)


def _symmetry(folder: Path) -> str:
    try:
        result: Mapping[str, Any] = json.loads((folder / "result.json").read_text())
    except (OSError, ValueError):
        return "C1"
    found = result.get("symmetry") or result.get("options", {}).get("symmetry")
    return found if isinstance(found, str) else "C1"


def write_chimerax(folder: Path) -> Path | None:
    """Write ``view.cxc`` into a job's folder, and what it opens; None for a job without maps.

    Raises
    ------
    OutputError
        Where the folder cannot be written to.
    """
    maps = _maps(folder)
    if not maps:
        return None
    header = read_header(maps[0])
    size, box = header.pixel_size[0], header.shape[-1]
    side, middle, extras = box * size, centre(box) * size, []
    try:
        views = _views_of(folder)
        if views is not None and len(views[0]):
            write_text(folder / VIEWS, views_bild(*views, side, middle))
            extras.append(VIEWS)
        axes = axes_bild(_symmetry(folder), side, middle)
        if axes:
            write_text(folder / AXES, axes)
            extras.append(AXES)
    except VitreousError:
        extras = [name for name in extras if (folder / name).is_file()]  # a picture, no result
    models = sorted(path for end in ("pdb", "cif") for path in folder.glob(f"*.{end}"))
    write_text(folder / SCRIPT, "\n".join(_script(folder, extras, models)) + "\n")
    return folder / SCRIPT
