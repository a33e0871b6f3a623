"""A particle file kept as it was, beside what was made of it in another format.

Formats have columns without a counterpart in others, and cells that are written in other ways.  The
table beside a converted file holds all rows of the file that it was made of, each under the uid of
its particle, so that nothing is lost on the way back.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from vitreous.errors import InputError
from vitreous.io.atomic import atomic_path
from vitreous.io.regular import require_regular
from vitreous.io.star import StarBlock
from vitreous.particles.carried import Carried
from vitreous.particles.cryosparc.columns import CryosparcColumns
from vitreous.particles.cryosparc.files import cryosparc_set
from vitreous.particles.cryosparc.values import as_bytes, texts
from vitreous.particles.particle_set import ParticleSet
from vitreous.particles.relion.columns import RelionColumns
from vitreous.particles.relion.files import relion_set

_UID = "side uid"
"""No column of either format has a blank in its name."""

_ABOUT = "vitreous"


@dataclass(frozen=True)
class SideTable:
    """A particle file as it was.

    Attributes
    ----------
    particles : ParticleSet
    uids : polars Series
        Of its rows, as text.
    """

    particles: ParticleSet
    uids: pl.Series


def side_path(file: Path) -> Path:
    """Where the side table of a file lies."""
    return file.with_name(f"{file.name}.side.parquet")


def _star_parts(carried: RelionColumns) -> tuple[pl.DataFrame, dict[str, Any]]:
    blocks = [*([] if carried.optics is None else [carried.optics]), *carried.others]
    about = {
        "format": "star",
        "name": carried.particles.name,
        "blocks": [
            {"name": b.name, "is_loop": b.is_loop, "columns": b.frame.to_dict(as_series=False)}
            for b in blocks
        ],
    }
    return carried.particles.frame, about


def _cs_parts(carried: CryosparcColumns) -> tuple[pl.DataFrame, dict[str, Any]]:
    series = []
    for name, values in carried.columns.items():
        flat = values.reshape(len(values), -1)
        for part in range(flat.shape[1]):
            cells = np.ascontiguousarray(flat[:, part])
            one = texts(cells) if cells.dtype.kind == "S" else pl.Series(cells)
            series.append(one.alias(f"{name} {part}"))
    shapes = {name: list(values.shape[1:]) for name, values in carried.columns.items()}
    return pl.DataFrame(series), {"format": "cs", "shapes": shapes}


def write_side_table(path: Path, particles: ParticleSet, uids: pl.Series) -> None:
    """Write particles as their file has them, under their uids."""
    carried = particles.carried
    parts = _cs_parts(carried) if isinstance(carried, CryosparcColumns) else _star_parts(
        _relion(carried)
    )  # fmt: skip
    frame, about = parts
    about["path"] = str(particles.path.absolute())
    with atomic_path(path) as temporary:
        frame.with_columns(uids.alias(_UID)).write_parquet(
            temporary, compression="lz4", statistics=False, metadata={_ABOUT: json.dumps(about)}
        )


def _relion(carried: Carried) -> RelionColumns:
    if not isinstance(carried, RelionColumns):
        raise TypeError(type(carried))
    return carried


def _of_star(frame: pl.DataFrame, about: dict[str, Any]) -> ParticleSet:
    blocks = [
        StarBlock(b["name"], pl.DataFrame(b["columns"], dict.fromkeys(b["columns"], pl.String)),
                  b["is_loop"])
        for b in about["blocks"]
    ]  # fmt: skip
    blocks.append(StarBlock(about["name"], frame))
    return relion_set({b.name: b for b in blocks}, Path(about["path"]), need_images=False)


def _of_cs(frame: pl.DataFrame, about: dict[str, Any]) -> ParticleSet:
    columns = {}
    for name, shape in about["shapes"].items():
        parts = [frame[f"{name} {part}"] for part in range(int(np.prod(shape, dtype=int)))]
        arrays = [as_bytes(p) if p.dtype == pl.String else p.to_numpy().copy() for p in parts]
        columns[name] = np.stack(arrays, axis=1).reshape(-1, *shape) if shape else arrays[0]
    return cryosparc_set(columns, Path(about["path"]), need_images=False)


def read_side_table(path: Path) -> SideTable:
    """Read a side table.

    Raises
    ------
    InputError
        For a file that is none.
    """
    require_regular(path)
    try:
        about = json.loads(pl.read_parquet_metadata(path)[_ABOUT])
        frame = pl.read_parquet(path)
        uids = frame[_UID]
        make = {"star": _of_star, "cs": _of_cs}[about["format"]]
        return SideTable(make(frame.drop(_UID), about), uids)
    except (pl.exceptions.PolarsError, ValueError, KeyError, TypeError, OSError) as error:
        raise InputError(
            "is no side table of vitreous convert", where=path, hint="pass --no-side"
        ) from error
