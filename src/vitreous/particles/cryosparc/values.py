"""Fields that cryoSPARC keeps in several columns, or in others than one to one: there and back.

Facts of the format are from cryosparc-tools' own files and from what the converters pyem and
cryoDRGN do alike; ``docs/decisions.md`` tells which of them are proven, and by what.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import polars as pl
from jaxtyping import Float, Int

Columns = Mapping[str, np.ndarray]

_CLASS = re.compile(r"alignments_class_(\d+)/class_posterior")
_MULTI = "alignments3D_multi"


def rounded(values: np.ndarray) -> Float[np.ndarray, "..."]:
    """Numbers to the six decimals that a STAR file carries, so that both formats mean the same."""
    flat = pl.Series(values.astype(np.float64).ravel()).round(6).to_numpy()
    return flat.reshape(values.shape)


# Rot, tilt, psi and rotation vectors are carried into each other by quaternions in closed form,
# Rz(rot) Ry(tilt) Rz(psi) being
#     x, y = sin(tilt / 2) (sin, cos)((psi - rot) / 2)
#     z, w = cos(tilt / 2) (sin, cos)((psi + rot) / 2):
# a tenth of the time of matrices, and neither SciPy nor torch is imported for a conversion.

_POLE = 1e-7
"""Sine of a tilt below which rot and psi turn about the same axis."""


def angles_of(pose: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    """Rot, tilt, psi (degrees) of rotation vectors (radians) that turn the image into the map.

    Rot and psi lie within 180 degrees of 0; at the poles all of their turn is rot.
    """
    vectors = pose.astype(np.float64)
    half = np.sqrt(np.einsum("nk,nk->n", vectors, vectors)) / 2
    x, y, z = (vectors * (np.sinc(half / np.pi) / 2)[:, None]).T
    s, c = np.hypot(x, y), np.hypot(z, np.cos(half))
    together, apart = np.arctan2(z, np.cos(half)), np.arctan2(x, y)
    pole = s * c < _POLE / 2
    rot = np.where(pole, 2 * np.where(s < c, together, -apart), together - apart)
    psi = np.where(pole, 0.0, together + apart)
    turns = np.stack([rot, 2 * np.arctan2(s, c), psi], axis=1)
    return np.degrees(turns - 2 * np.pi * np.round(turns / (2 * np.pi)))


def pose_of(angles: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    """Rotation vectors (radians) of rot, tilt, psi in degrees: of Rz(rot) Ry(tilt) Rz(psi)."""
    rot, tilt, psi = np.radians(angles).T / 2
    s, c = np.sin(tilt), np.cos(tilt)
    axis = np.stack([s * np.sin(psi - rot), s * np.cos(psi - rot), c * np.sin(psi + rot)], axis=1)
    w = c * np.cos(psi + rot)
    sine = np.sqrt(np.einsum("nk,nk->n", axis, axis))
    # A quaternion and its opposite are one rotation: that of the angle below 180 degrees.
    angle = 2 * np.arctan2(sine, np.abs(w)) * np.where(w < 0, -1, 1)
    return (axis * (angle / np.where(sine > 0, sine, 1))[:, None]).astype(np.float32)


def image_names(columns: Columns, path: str, index: str) -> pl.Series:
    """Image names, NUMBER@FILE, the number from 1."""
    files = texts(columns[path]).str.strip_prefix(">")
    numbers = pl.Series(columns[index].astype(np.int64) + 1).cast(pl.String).str.zfill(6)
    return numbers + "@" + files


def texts(values: np.ndarray) -> pl.Series:
    """A column of texts; bytes that are no UTF-8 raise UnicodeDecodeError."""
    begins = np.flatnonzero(np.append(True, values[1:] != values[:-1]))  # particles come in runs
    places, place = np.unique(values[begins], return_inverse=True)
    decoded = pl.Series([text.decode("utf-8") for text in places.tolist()], dtype=pl.String)
    return decoded.gather(np.repeat(place, np.diff(begins, append=len(values))))


def as_bytes(series: pl.Series) -> np.ndarray:
    """A column of texts, as it is written."""
    runs = series.rle().struct.unnest()
    encoded = [text.encode("utf-8") for text in runs["value"].to_list()]
    width = max(1, *map(len, encoded)) if encoded else 1
    return np.repeat(np.array(encoded, dtype=f"S{width}"), runs["len"].to_numpy())


def class_numbers_aligned(columns: Columns) -> list[int]:
    """Classes, from 0, whose alignments stand in columns of their own, as ab initio writes them."""
    return sorted(int(found[1]) for name in columns if (found := _CLASS.fullmatch(name)))


def class_posteriors(columns: Columns) -> Float[np.ndarray, "n k"] | None:
    """Posterior of each class; None where there is one class only."""
    multi = columns.get(f"{_MULTI}/class_posterior")
    if multi is not None and multi.ndim == 2:
        return multi
    classes = class_numbers_aligned(columns)
    if not classes:
        return None
    return np.stack([columns[f"alignments_class_{k}/class_posterior"] for k in classes], axis=1)


def _of_classes(columns: Columns, name: str) -> np.ndarray | None:
    """Values (particles, classes, ...) of an alignment of each class."""
    multi = columns.get(f"{_MULTI}/{name}")
    if multi is not None:
        return multi
    classes = [columns.get(f"alignments_class_{k}/{name}") for k in class_numbers_aligned(columns)]
    there = [values for values in classes if values is not None]
    return np.stack(there, axis=1) if there and len(there) == len(classes) else None


def with_best_class(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Columns with one alignment a particle: that of its likeliest class, if there is none."""
    posterior = class_posteriors(columns)
    if "alignments3D/pose" in columns or posterior is None:
        return columns
    best = posterior.argmax(axis=1)
    chosen = {"alignments3D/class": best.astype(np.uint32)}
    for name in ("pose", "shift", "psize_A", "split", "alpha", "class_posterior"):
        values = _of_classes(columns, name)
        if values is not None and values.ndim > 1 and values.shape[1] == posterior.shape[1]:
            chosen[f"alignments3D/{name}"] = values[np.arange(len(best)), best]
        elif values is not None and values.ndim == 1:
            chosen[f"alignments3D/{name}"] = values
    return columns | chosen


_ODD, _MIX = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9)
_MIX_AGAIN = np.uint64(0x94D049BB133111EB)


def mixed(numbers: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """Numbers scattered over 64 bits, no two alike (the finaliser of SplitMix64)."""
    z = numbers.astype(np.uint64) * _ODD
    z = (z ^ (z >> np.uint64(30))) * _MIX
    z = (z ^ (z >> np.uint64(27))) * _MIX_AGAIN
    return z ^ (z >> np.uint64(31))
