"""RELION's model.star: what it says of the classes and of the groups of micrographs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float

from vitreous.errors import InputError
from vitreous.io.star import StarBlock, read_star, write_star
from vitreous.particles.columns import numbers, numbers_if_any
from vitreous.particles.fields import Field
from vitreous.particles.grid import Grid
from vitreous.particles.particle_set import ParticleSet
from vitreous.particles.relion.columns import RelionColumns
from vitreous.particles.relion.names import COLUMNS

_SHARE = "rlnClassDistribution"
_GROUP_SCALE = COLUMNS[ParticleSet.group_scale][0].name

_CLASSES = {
    "resolution": ("rlnEstimatedResolution",),
    "rotation_accuracy": ("rlnAccuracyRotations",),
    "translation_accuracy": ("rlnAccuracyTranslationsAngst", "rlnAccuracyTranslations"),
    "completeness": ("rlnOverallFourierCompleteness",),
}
"""Columns of data_model_classes, the first there counts."""


@dataclass(frozen=True)
class ModelClasses:
    """Classes of a model.star.

    Attributes
    ----------
    share : array (classes,)
        Of the particles.
    known : mapping of str to array (classes,)
        Resolution and accuracy of translations in angstrom, accuracy of rotations in degrees,
        completeness of Fourier space: those that are there.
    """

    share: Float[np.ndarray, " k"]
    known: Mapping[str, Float[np.ndarray, " k"]]


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


def read_model_classes(model: Path) -> ModelClasses:
    """Read what a model.star says of its classes.

    Raises
    ------
    InputError
        If it says nothing.
    """
    block = _model_block(model, "model_classes", _SHARE)
    known: dict[str, Float[np.ndarray, " k"]] = {}
    for name, columns in _CLASSES.items():
        found = [v for column in columns if (v := numbers_if_any(block, column)) is not None]
        known |= {name: found[0]} if found else {}
    return ModelClasses(numbers(block, _SHARE, model), known)


def model_group_scales(model: Path, particles: ParticleSet) -> Float[np.ndarray, " n"] | None:
    """Scale of each particle's group of micrographs; None if not all groups are there.

    Raises
    ------
    InputError
        If the model.star has no groups.
    """
    block = _model_block(model, "model_groups", _GROUP_SCALE)
    groups = RelionColumns(model, block, None, (), np.zeros(0, dtype=np.int64))
    scale = numbers(block, _GROUP_SCALE, model)
    fields: tuple[Field[Any], ...] = (ParticleSet.group_number, ParticleSet.group_name)
    for field in fields:
        if groups.has(field) and particles.has(field):
            of = dict(zip(pl.Series(groups.read(field)), scale, strict=True))
            own = pl.Series(particles.of_field(field))
            found = own.replace_strict(of, default=None, return_dtype=pl.Float64)
            return None if found.null_count() else found.to_numpy()
    return None


@dataclass(frozen=True)
class AverageRow:
    """A class average as a model.star tells of it.

    Attributes
    ----------
    image : str
        NUMBER@FILE.
    share : float
        Of the particles.
    resolution : float or None
        Angstrom; None if there is none.
    """

    image: str
    share: float
    resolution: float | None


_NO_RESOLUTION, _NO_ACCURACY = 999.0, 999.0


def write_class_model(
    path: Path, averages: Sequence[AverageRow], grid: Grid, tau2_fudge: float
) -> None:
    """Write class averages as RELION's 2D classification does, for its Subset selection."""
    limits = [row.resolution for row in averages]
    known = [limit for limit in limits if limit is not None]
    general = {
        "rlnReferenceDimensionality": "2",
        "rlnDataDimensionality": "2",
        "rlnOriginalImageSize": str(grid.box),
        "rlnCurrentResolution": f"{min(known, default=_NO_RESOLUTION):.6f}",
        "rlnCurrentImageSize": str(grid.box),
        "rlnPixelSize": f"{grid.pixel_size:.6f}",
        "rlnNrClasses": str(len(averages)),
        "rlnNrBodies": "1",
        "rlnTau2FudgeFactor": f"{tau2_fudge:.6f}",
    }
    accuracy = [f"{_NO_ACCURACY:.6f}"] * len(averages)
    classes = {
        "rlnReferenceImage": [row.image for row in averages],
        "rlnClassDistribution": [f"{row.share:.6f}" for row in averages],
        "rlnAccuracyRotations": accuracy,
        "rlnAccuracyTranslationsAngst": accuracy,
        "rlnEstimatedResolution": [f"{limit or _NO_RESOLUTION:.6f}" for limit in limits],
        "rlnOverallFourierCompleteness": ["1.000000"] * len(averages),
    }
    first = StarBlock("model_general", pl.DataFrame({n: [v] for n, v in general.items()}), False)
    write_star(path, [first, StarBlock("model_classes", pl.DataFrame(classes))])
