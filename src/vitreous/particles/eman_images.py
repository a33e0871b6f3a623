"""Images of EMAN2's .hdf files, written as an MRC stack that every program reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import numpy as np
from jaxtyping import Float

from vitreous.errors import InputError
from vitreous.io.eman import ListedImage, read_hdf, read_hdf_images
from vitreous.io.mrc import stack_writer
from vitreous.particles.image_files import find_file


def lie_in_hdf(images: Sequence[ListedImage]) -> bool:
    """Whether all images lie in .hdf files."""
    return all(image.file.casefold().endswith(".hdf") for image in images)


def _found(name: str, path: Path) -> Path:
    file = find_file(name, path)
    if file is None:
        raise InputError(
            f"the images' file {name} is not there", where=path, hint="put it beside the list"
        )
    return file


def _pixels(images: Sequence[ListedImage], path: Path) -> Iterator[Float[np.ndarray, "y x"]]:
    for name, some in groupby(images, lambda image: image.file):
        yield from read_hdf_images(_found(name, path), [image.index for image in some])


def _pixel_size(images: Sequence[ListedImage], given: float | None, path: Path) -> float:
    """Angstrom, as given or as the first file says of its first image."""
    said = read_hdf(_found(images[0].file, path))[0].get("apix_x", 0) if given is None else given
    try:
        size = float(said)
    except (TypeError, ValueError):
        size = 0.0
    if not size > 0:
        raise InputError("no pixel size is known", where=path, hint="give it with --pixel-size")
    return size


def copied_images(
    images: Sequence[ListedImage], path: Path, stack: Path, pixel_size: float | None
) -> list[ListedImage]:
    """Write images of .hdf files to an MRC stack, in their order.

    Parameters
    ----------
    images : sequence of ListedImage
    path : Path
        The file that lists them.
    stack : Path
        To be written.
    pixel_size : float, optional
        Angstrom; by default what the first file says.

    Returns
    -------
    The same images as the stack has them.

    Raises
    ------
    InputError
        For images that are not there, differ in their size or are no squares.
    """
    size, pixels = _pixel_size(images, pixel_size, path), _pixels(images, path)
    first = next(pixels)
    with stack_writer(stack, len(first), len(images), size) as writer:
        writer.append(first[None])
        for number, image in enumerate(pixels, 1):
            if image.shape != first.shape:
                raise InputError(
                    f"image {number} has {len(image)} px, the first {len(first)}",
                    where=path,
                    hint="convert images of each size by themselves",
                )
            writer.append(image[None])
    return [replace(image, file=str(stack), index=place) for place, image in enumerate(images)]
