"""Particle sets from EMAN2's lists of images; they are read, not written.

EMAN2 turns the volume by az about z, alt about x and phi about z, so that az is rot + 90 degrees,
alt is tilt and phi is psi - 90 degrees (3DEM conventions).  A shift moves the projection, so it is
minus RELION's origin, in pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vitreous.errors import InputError
from vitreous.io.eman import ListedImage, read_hdf, read_lst
from vitreous.io.mrc import read_header
from vitreous.math.rotations import matrix_to_euler
from vitreous.particles.image_files import ImageFiles, find_file
from vitreous.particles.optics import OpticsGroup
from vitreous.particles.particle_set import ParticleSet
from vitreous.particles.relion.files import new_relion

_POSE = "xform.projection"


def _matrix(found: Any) -> np.ndarray | None:
    """Matrix (3, 4) of a transform: its 12 numbers, or angles and shifts by name."""
    if isinstance(found, Mapping):
        found = found.get("matrix", found)
    if isinstance(found, Mapping) and {"az", "alt", "phi"} <= set(found):
        turn = angles_to_matrix(*(float(found[name]) for name in ("az", "alt", "phi")))
        return np.column_stack([turn, [float(found.get(n, 0)) for n in ("tx", "ty", "tz")]])
    text = str(found).strip("[] ").replace("],[", ",")
    try:
        numbers = np.array([float(part) for part in text.replace("[", "").split(",")])
    except ValueError:
        return None
    return numbers[:12].reshape(3, 4) if len(numbers) >= 12 else None


def angles_to_matrix(az: float, alt: float, phi: float) -> np.ndarray:
    """EMAN2's matrix of its angles, degrees: Z(phi) X(alt) Z(az), each turning the axes."""

    def turn(angle: float, i: int, j: int) -> np.ndarray:
        matrix, radians = np.eye(3), np.radians(angle)
        matrix[i, i] = matrix[j, j] = np.cos(radians)
        matrix[i, j], matrix[j, i] = np.sin(radians), -np.sin(radians)
        return matrix

    return turn(phi, 0, 1) @ turn(alt, 1, 2) @ turn(az, 0, 1)


def _optics(stack: Path, pixel_size: float | None, path: Path) -> OpticsGroup:
    header = read_header(stack)
    size = pixel_size or header.pixel_size[0]
    if size <= 0:
        raise InputError("no pixel size is known", where=path, hint="give it with --pixel-size")
    return OpticsGroup(1, "opticsGroup1", size, header.shape[2], 300.0, 2.7, 0.1)


def _poses(images: Sequence[ListedImage], size: float) -> dict[str, np.ndarray]:
    """Fields of poses; none where some image has none."""
    found = [_matrix(image.about[_POSE]) for image in images if _POSE in image.about]
    matrices = [matrix for matrix in found if matrix is not None]
    if len(matrices) < len(images):
        return {}
    several = np.stack(matrices)
    angles = matrix_to_euler(torch.from_numpy(several[:, :, :3].copy())).numpy()
    rot, tilt, psi = angles.T
    x, y = -size * several[:, 0, 3] + 0.0, -size * several[:, 1, 3] + 0.0
    return {"rot": rot, "tilt": tilt, "psi": psi, "origin_x": x, "origin_y": y}


def listed_images(path: Path) -> list[ListedImage]:
    """Images of a .lst file, or of an .hdf file.

    Raises
    ------
    InputError
        For a file of another kind.
    """
    if path.suffix.casefold() != ".hdf":
        return read_lst(path)
    return [ListedImage(str(path.absolute()), n, about) for n, about in enumerate(read_hdf(path))]


def read_eman(
    path: Path, images: Sequence[ListedImage], stack: Path | None, pixel_size: float | None
) -> ParticleSet:
    """Particles of the images of a file, which lie in ``stack`` if that is given.

    Raises
    ------
    InputError
        For images that are not there, or not as MRC.
    """
    names = list(dict.fromkeys(image.file for image in images))
    stacks = [stack or find_file(name, path) for name in names]
    for name, file in zip(names, stacks, strict=True):
        if file is None or file.suffix.casefold() in (".hdf", ".spi", ".img", ".hed"):
            raise InputError(
                f"the images lie in {name}, which is not read or not there",
                where=path,
                hint="write them as MRC (e2proc2d.py IN OUT.mrcs) and name that with --stack",
            )
    places = tuple(file for file in stacks if file is not None)
    number = {name: n for n, name in enumerate(names)}
    stack_of = np.array([number[image.file] for image in images], np.int32)
    index = np.array([image.index for image in images], np.int64)
    files = ImageFiles(places, stack_of, index, np.empty(0, np.int64))
    optics = _optics(places[0], pixel_size, path)
    made = new_relion(path, (optics,), np.zeros(len(images), np.int32), files)
    poses = _poses(images, optics.pixel_size)
    classes = [image.about.get("class") for image in images]
    if all(isinstance(one, int) for one in classes):
        made = made.with_fields(class_number=np.array(classes) + 1)
    return made.with_fields(**poses) if poses else made
