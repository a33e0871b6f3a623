"""What a classification leaves behind: maps of every class, particles.star and result.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from vitreous.engine.assignments import ParticleAssignments
from vitreous.engine.images import Frame
from vitreous.engine.junk import Label, duplicate_of
from vitreous.io.fsc_xml import write_fsc_xml
from vitreous.io.mrc import write_map
from vitreous.math.fourier import resample_map
from vitreous.math.rotations import matrix_to_euler
from vitreous.particles.files import write_particles
from vitreous.particles.particle_set import ParticleSet
from vitreous.schedules.class3d.finish import ClassMaps
from vitreous.validate.fsc import resolution_at, shell_frequency
from vitreous.validate.half_maps import HalfMapCurves
from vitreous.validate.truth import align

_XML_TITLE = "Masked FSC of a class's halves, corrected by phase randomisation"


@dataclass(frozen=True)
class Laid:
    """A class's map laid on another's.

    Attributes
    ----------
    volume : tensor (n, n, n)
    euler : list of float
        Rot, tilt, psi of the rotation, degrees.
    shift : list of float
        Then added, angstrom (x, y, z).
    """

    volume: Float[Tensor, "n n n"]
    euler: list[float]
    shift: list[float]


def in_common_frame(
    maps: Float[Tensor, "k n n n"],
    labels: list[Label],
    shares: Float[np.ndarray, " k"],
    pixel_size: float,
) -> dict[int, Laid]:
    """Maps of other classes laid on the largest class's, over rotation and shift.

    Classes of one hand: none is mirrored.  Empty ones and balls have no place of their own.
    """
    shaped = [n for n, label in enumerate(labels) if label in ("map", "duplicate")]
    if len(shaped) < 2:
        return {}
    first = max(shaped, key=lambda n: shares[n])
    laid = {}
    for number in shaped:
        if number != first:
            found = align(maps[number], maps[first], pixel_size, hands=(False,))
            euler = matrix_to_euler(torch.from_numpy(found.matrix)).tolist()
            laid[number] = Laid(found.volume, euler, (found.shift * pixel_size).tolist())
    return laid


@dataclass(frozen=True)
class Classified3d(ClassMaps):
    """What a classification found: its maps, and besides

    Attributes
    ----------
    laid : dict
        By number (from 0) the maps of classes laid on the largest class's.
    fixed : list of int
        Maps (from 0) that stayed as they were given.
    frame : Frame
        The working box and its pixel size.
    table : ParticleSet
        With the particles' classes, their posteriors and poses.
    record : dict
        For result.json: classes, how they came about, warnings.
    """

    laid: dict[int, Laid]
    fixed: list[int]
    frame: Frame
    table: ParticleSet
    record: dict[str, Any]

    @property
    def pixel_size(self) -> float:
        """Of the maps, angstrom."""
        return self.frame.pixel_size


def write_classified(out: Path, found: Classified3d, write_as: str) -> None:
    """Write particles.star and the maps, half-maps and FSC of every class on the maps' grid.

    ``write_as`` is what --write asks for.
    """
    write_particles(out / "particles.star", found.table, write=write_as)
    frame, box = found.frame, found.frame.grid.box
    pixel_size = frame.field / box
    frequency = shell_frequency(frame.box, frame.pixel_size)

    def write(name: str, volume: Tensor) -> None:
        write_map(out / f"{name}.mrc", resample_map(volume.cpu(), box).numpy(), pixel_size)

    for number, volume in enumerate(found.maps):
        name = f"class{number + 1:03d}"
        write(name, volume)
        if number not in found.fixed:
            write(f"{name}_half1", found.half1[number])
            write(f"{name}_half2", found.half2[number])
            curve = found.curves[number].corrected
            write_fsc_xml(out / f"{name}_fsc.xml", frequency, curve, _XML_TITLE)
    for number, one in found.laid.items():
        write(f"class{number + 1:03d}_aligned", one.volume)


def _curve_record(curves: HalfMapCurves, frame: Frame) -> dict[str, Any]:
    at = (
        resolution_at(curves.corrected, threshold, frame.box, frame.pixel_size)
        for threshold in (0.143, 0.5)
    )
    frequency = shell_frequency(frame.box, frame.pixel_size)
    names = ("resolution_0143", "resolution_05")
    return {
        **dict(zip(names, at, strict=True)),
        "fsc": {"frequency": frequency, "corrected": curves.corrected, "masked": curves.masked},
    }


def _mean(values: Float[np.ndarray, " n"]) -> float | None:
    return float(values.mean()) if len(values) else None


def class_records(
    found: ParticleAssignments,
    classes: Int[np.ndarray, " n"],
    labels: list[Label],
    alike: Mapping[int, int],
    made: ClassMaps,
    frame: Frame,
    fixed: list[int],
    laid: dict[int, Laid],
) -> list[dict[str, Any]]:
    """One entry for every map, and one for the images of noise where they have no decoy.

    The number expected of a class is the sum of its posteriors, and each particle, being in it or
    not, adds p (1 - p) to the variance of that number.
    """
    records: list[dict[str, Any]] = []
    for number, label in enumerate(labels, 1):
        member, share = classes == number, found.by_map[:, number - 1]
        free = number - 1 not in fixed
        curve = _curve_record(made.curves[number - 1], frame) if free else {}
        turn = laid.get(number - 1)
        records.append(
            {
                "class": number,
                "label": label,
                "duplicate_of": duplicate_of(number, label, alike),
                "map": f"class{number:03d}.mrc",
                "aligned": None if turn is None else f"class{number:03d}_aligned.mrc",
                "aligned_by": turn and {"euler": turn.euler, "shift": turn.shift},
                "fixed": not free,
                "particles": int(member.sum()),
                "particles_expected": float(share.sum()),
                "particles_sd": float(np.sqrt((share * (1 - share)).sum())),
                "fraction": float(member.mean()),
                "confidence": _mean(found.by_map.max(axis=1)[member]),
                "mean_max_posterior": _mean(found.probability[member]),
                "resolution": curve.get("resolution_0143"),
                **curve,
            }
        )
    noise = classes > len(labels)
    if noise.any():
        records.append(
            {
                "class": len(labels) + 1,
                "label": "noise",
                "map": None,
                "particles": int(noise.sum()),
                "fraction": float(noise.mean()),
                "confidence": _mean(found.noise_probability[noise]),
                "mean_max_posterior": _mean(found.probability[noise]),
                "resolution": None,
            }
        )
    return records
