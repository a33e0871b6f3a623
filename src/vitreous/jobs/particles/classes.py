"""What classifications, RELION's or our own, say of their classes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from vitreous.config.particles import SelectConfig
from vitreous.errors import InputError
from vitreous.io.regular import require_regular
from vitreous.particles.particle_set import ParticleSet
from vitreous.particles.relion.model import (
    model_beside,
    model_group_scales,
    read_model_classes,
)
from vitreous.particles.selection import MOST_JUNK, class_numbers
from vitreous.validate.class_quality import MAP, ClassQuality, ClassRecord, class_qualities


def _from_model(model: Path) -> list[ClassRecord]:
    found = read_model_classes(model)
    share, known = found.share, found.known
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
                judged=entry.get("score"),
            )
            for entry in result["classes"]
        ]
    except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise InputError(
            f"tells of no classes ({type(error).__name__}: {error})",
            where=path,
            hint="give the result.json of vitreous class2d, abinit or classify3d, or a model.star "
            "of RELION",
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
            "beside it lies neither the result.json of vitreous class2d, abinit or classify3d nor, "
            "for X_data.star of RELION, X_model.star",
            where=star,
            hint="say with --classes-from where the classes are described",
        )
    return _from_result(source) if source.suffix == ".json" else _from_model(source)


def good_classes(
    table: ParticleSet, source: Path | None, min_score: float
) -> tuple[tuple[ClassQuality, ...], list[int]]:
    """All classes ranked, and the numbers of those that score so much and hold particles.

    They are described in ``source``, or beside the table's file.

    Raises
    ------
    InputError
        If no class with particles scores so much, or the classes are not those of the particles.
    """
    ranking = class_qualities(read_classes(table.path, source))
    there = set(class_numbers(table).tolist())
    unknown = there - {quality.record.number for quality in ranking}
    if unknown:
        raise InputError(
            f"holds particles of class {min(unknown)}, but {len(ranking)} classes are described",
            where=table.path,
            hint="name the description of its own classification with --classes-from",
        )
    good = [q.record.number for q in ranking if q.score >= min_score]
    if not there & set(good):
        best = ranking[0]
        raise InputError(
            f"no class with particles scores {min_score:g}; the best, class "
            f"{best.record.number}, scores {best.score:.2f}",
            where=table.path,
            hint="lower --min-score of vitreous select, or choose with its --classes",
        )
    return tuple(ranking), sorted(there & set(good))


def without_junk(
    config: SelectConfig, table: ParticleSet, ranking: Sequence[ClassQuality]
) -> SelectConfig:
    """Options that leave out images which a 2D classification found unlike others of their class.

    As they are where the limit is given, or where nothing is known of the images.
    """
    by_class = any(quality.record.judged is not None for quality in ranking)
    if config.max_junk is not None or table.junk_posterior is None or not by_class:
        return config
    return replace(config, max_junk=MOST_JUNK)


def scale_corrections(table: ParticleSet) -> Float[np.ndarray, " n"] | None:
    """Scale of each particle's group: its own, or its group's in the model.star beside.

    None where neither says.
    """
    if table.group_scale is not None:
        return table.group_scale
    model = model_beside(table.path)
    return None if model is None else model_group_scales(model, table)
