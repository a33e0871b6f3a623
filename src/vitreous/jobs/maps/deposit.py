"""What EMDB asks for, in one folder: map, half-maps, mask, FSC and answers to its form."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vitreous import __version__
from vitreous.config.maps import DepositConfig
from vitreous.errors import InputError
from vitreous.io.atomic import atomic_path, write_text
from vitreous.io.mrc import read_header, read_map
from vitreous.runs.folder import OnEvent, ignore
from vitreous.runs.targets import spared

_FILES = {
    "emd_map.mrc": ("sharpened.mrc", "map.mrc"),
    "emd_half_map_1.mrc": ("half1.mrc",),
    "emd_half_map_2.mrc": ("half2.mrc",),
    "emd_mask.mrc": ("mask.mrc",),
    "emd_fsc.xml": ("fsc.xml",),
}
"""Names in the set, and those of the jobs' files, the first there."""

_NEEDED = ("emd_map.mrc", "emd_half_map_1.mrc", "emd_half_map_2.mrc")
_LEVEL = 4.0


@dataclass(frozen=True)
class Deposition:
    """What :func:`run_deposit` gathered.

    Attributes
    ----------
    folder : Path
    files : tuple of Path
    missing : tuple of str
        Parts of a set that the job did not leave.
    """

    folder: Path
    files: tuple[Path, ...]
    missing: tuple[str, ...]


def _found(folders: tuple[Path, ...]) -> dict[str, Path]:
    found = {}
    for target, names in _FILES.items():
        there = (folder / name for name in names for folder in folders)
        path = next((path for path in there if path.is_file()), None)
        if path is not None:
            found[target] = path
    return found


def _result(folder: Path) -> Mapping[str, Any]:
    path = folder / "result.json"
    try:
        result: Mapping[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(
            "is not the folder of a finished job: no result.json that can be read",
            where=folder,
            hint="give the folder of vitreous refine, reconstruct or postprocess",
        ) from error
    return result


def _answers(results: list[Mapping[str, Any]], map_file: Path) -> list[tuple[str, str]]:
    """Questions of the form, and what is known of them."""

    def first(*path: str) -> str:
        for result in results:
            value: Any = result
            for name in path:
                value = value.get(name) if isinstance(value, Mapping) else None
            if value is not None:
                return f"{value:.4g}" if isinstance(value, float) else str(value)
        return ""

    header = read_header(map_file)
    volume, _ = read_map(map_file)
    level = float(volume.mean() + _LEVEL * volume.std())
    size = "; ".join(f"{v:.6g}" for v in header.pixel_size)
    return [
        ("Software", f"vitreous {__version__}"),
        ("Resolution (FSC 0.143, A)", first("resolution_0143")),
        ("Resolution method", "FSC 0.143 cut-off"),
        ("Symmetry", first("symmetry") or first("options", "symmetry") or "C1"),
        ("Number of particles", first("n_particles") or first("input", "particles")),
        ("Map size (voxels)", "; ".join(map(str, header.shape[::-1]))),
        ("Voxel size (A)", size),
        ("Recommended contour level", f"{level:.4g}"),
        ("Map minimum, maximum", f"{float(np.min(volume)):.4g}; {float(np.max(volume)):.4g}"),
        ("B-factor of sharpening (A^2)", first("b_factor")),
        ("Angular assignment", first("job")),
    ]


def run_deposit(config: DepositConfig, on_event: OnEvent = ignore) -> Deposition:
    """Gather a deposition set.

    Raises
    ------
    VitreousError
        For a folder that holds no map with half-maps, and where the set cannot be written.
    """
    folders = (config.job, *config.more)
    results = [_result(folder) for folder in folders]
    found = _found(folders)
    absent = [name for name in _NEEDED if name not in found]
    if absent:
        raise InputError(
            f"has no {' and no '.join(_FILES[name][-1] for name in absent)}",
            where=config.job,
            hint="give the folder of a refinement, and others with --more",
        )
    table = config.out / "emdb_form.csv"
    targets = {config.out / name: path for name, path in found.items()}
    for path in (*targets, table):
        spared(path, list(found.values()), config.overwrite)
    for target, source in targets.items():
        with atomic_path(target) as temporary:
            shutil.copyfile(source, temporary)
    text = io.StringIO()
    csv.writer(text).writerows([("question", "answer"), *_answers(results, found["emd_map.mrc"])])
    write_text(table, text.getvalue())
    missing = tuple(_FILES[name][-1] for name in _FILES if name not in found)
    on_event({"event": "deposited", "files": [str(path) for path in targets]})
    return Deposition(config.out, (*targets, table), missing)
