"""Images that particles are picked by: class averages, or projections of a map."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from vitreous.config.picking import PickConfig
from vitreous.errors import InputError
from vitreous.imaging.project import map_to_cube, project
from vitreous.io.mrc import in_order, load
from vitreous.math.fourier import crop_or_pad, resample_values, to_real
from vitreous.math.rotations import euler_to_matrix
from vitreous.math.so3 import healpix_directions

_VIEWS = 1
"""HEALPix order of a map's views: 48, some 30 degrees apart."""

_FIELD = 1.5
"""Side of a reference over the particle's diameter."""

_MOST = 200
"""Images, with all their directions in the plane, that are looked for in reasonable time."""


def _projections(volume: Float[np.ndarray, "n n n"]) -> Float[np.ndarray, "k n n"]:
    """Projections of a map along evenly spread directions."""
    rot, tilt = (torch.from_numpy(np.asarray(a)) for a in healpix_directions(_VIEWS))
    matrices = euler_to_matrix(rot, tilt, torch.zeros_like(rot)).float()
    box = len(volume)
    cube = map_to_cube(torch.from_numpy(volume)[None], box / 2)
    return to_real(project(cube, matrices, box), 2).numpy()


def _read(config: PickConfig, path: Path) -> tuple[Float[np.ndarray, "k n n"], float]:
    """Images of a file, and their pixel size in angstrom."""
    header, stored = load(path)
    array = in_order(header, stored)
    size = config.reference_pixel_size or header.pixel_size[0]
    for bad, what, hint in (
        (array.shape[1] != array.shape[2],
         f"its images are {array.shape[2]} x {array.shape[1]} pixels, expected squares",
         "give a stack of class averages, or a map"),
        (not np.isfinite(array).all(), "holds NaN or infinite values", "write it again"),
        (size <= 0, "the header gives no pixel size", "pass --reference-pixel-size"),
    ):  # fmt: skip
        if bad:
            raise InputError(what, where=path, hint=hint)
    is_map = not header.is_stack and len(set(array.shape)) == 1
    images = _projections(array) if is_map else array[array.std(axis=(1, 2)) > 0]
    if not 0 < len(images) <= _MOST:
        raise InputError(
            f"holds {len(images)} images with something in them, expected 1 to {_MOST}",
            where=path,
            hint="choose the best class averages",
        )
    return images, size


def read_references(config: PickConfig, pixel_size: float) -> Float[np.ndarray, "k b b"] | None:
    """References at a pixel size in angstrom, their particle in the middle; None to pick blobs.

    Raises
    ------
    InputError
        For a file that holds no images or map, or does not tell their pixel size.
    """
    if config.references is None:
        return None
    images, size = _read(config, config.references)
    box = 2 * round(images.shape[-1] * size / pixel_size / 2)
    small = resample_values(torch.from_numpy(np.ascontiguousarray(images)), box, 2)
    field = 2 * round(_FIELD * config.diameter / pixel_size / 2)
    return crop_or_pad(small, field, 2).numpy()
