"""What classifications, RELION's or our own, say of their classes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float

from vitreous.errors import InputError
from vitreous.io.regular import require_regular
from vitreous.io.star import StarBlock, read_star
from vitreous.particles.columns import numbers, numbers_if_any
from vitreous.particles.table import ParticleTable
from vitreous.validate.class_quality import MAP, ClassRecord

GROUP, GROUP_NAME, _SCALE = "rlnGroupNumber", "rlnGroupName", "rlnGroupScaleCorrection"

_RELION = {
    "resolution": ("rlnEstimatedResolution",),
    "rotation_accuracy": ("rlnAccuracyRotations",),
    "translation_accuracy": ("rlnAccuracyTranslationsAngst", "rlnAccuracyTranslations"),
    "completeness": ("rlnOverallFourierCompleteness",),
}
"""Columns of data_model_classes, the first there counts."""


def model_beside(star: Path) -> Path | None:
    """RELION's ``X_model.star`` of a table ``X_data.star``, if it is there."""
    model = star.with_name(star.name.removesuffix("_data.star") + "_model.star")
    return model if star.name.endswith("_data.star") and model.is_file() else None


def _model_block(model: Path, name: str, column: str) -> StarBlock:
    block = read_star(model).get(name)
    if block is None or column not in block.frame.columns or not len(block.frame):
        raise InputError(
            f"no table data_{name} with a column _{column}",
            where=model,
            hint="give the model.star of a RELION classification or refinement",
        )
    return block


def _from_model(model: Path) -> list[ClassRecord]:
    block = _model_block(model, "model_classes", "rlnClassDistribution")
    share = numbers(block, "rlnClassDistribution", model)
    known: dict[str, np.ndarray] = {}
    for name, columns in _RELION.items():
        found = [v for column in columns if (v := numbers_if_any(block, column)) is not None]
        if found:
            known[name] = found[0]
    return [
        ClassRecord(row + 1, MAP, float(share[row]), **{n: float(v[row]) for n, v in known.items()})
        for row in range(len(share))
    ]


def _from_result(path: Path) -> list[ClassRecord]:
    require_regular(path)
    try:
        result: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return [
            ClassRecord(
                number=int(entry["class"]),
                label=str(entry["label"]),
                share=float(entry["fraction"]),
                confidence=entry.get("confidence"),
                posterior=entry.get("mean_max_posterior"),
                resolution=entry.get("resolution"),
            )
            for entry in result["classes"]
        ]
    except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise InputError(
            f"tells of no classes ({type(error).__name__}: {error})",
            where=path,
            hint="give the result.json of vitreous abinit or classify3d, or a model.star of RELION",
        ) from error


def read_classes(star: Path, source: Path | None) -> list[ClassRecord]:
    """Records of all classes, from ``source`` or from what lies beside a particle STAR file.

    Raises
    ------
    InputError
        If nothing lies there, or it tells of no classes.
    """
    beside = star.with_name("result.json")
    source = source or model_beside(star) or (beside if beside.is_file() else None)
    if source is None:
        raise InputError(
            "beside it lies neither the result.json of vitreous abinit or classify3d nor, for "
            "X_data.star of RELION, X_model.star",
            where=star,
            hint="say with --classes-from where the classes are described",
        )
    return _from_result(source) if source.suffix == ".json" else _from_model(source)


def scale_corrections(table: ParticleTable) -> Float[np.ndarray, " n"] | None:
    """rlnGroupScaleCorrection of each particle: its own, or its group's in the model.star beside.

    None where neither says.
    """
    if _SCALE in table.columns:
        return numbers(table.block, _SCALE, table.path)
    model = model_beside(table.path)
    if model is None:
        return None
    block = _model_block(model, "model_groups", _SCALE)
    scale = numbers(block, _SCALE, model)
    for name in (GROUP, GROUP_NAME):
        if name in table.columns and name in block.frame.columns:
            of = dict(zip(block.frame[name], scale, strict=True))
            cells = table.block.frame[name]
            found = cells.replace_strict(of, default=None, return_dtype=pl.Float64)
            return None if found.null_count() else found.to_numpy()
    return None
