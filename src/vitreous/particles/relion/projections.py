"""What RELION's columns say that images are: single projections, or refused by every job alike."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from vitreous.errors import InputError
from vitreous.io.mrc import read_header
from vitreous.io.regular import is_file
from vitreous.particles.columns import numbers_if_any, truths
from vitreous.particles.image_files import ImageFiles
from vitreous.particles.relion.columns import RelionColumns
from vitreous.particles.relion.names import (
    DIMENSIONS,
    IMAGE_NAME,
    MIRRORED,
    OF_SUBTOMOGRAMS,
    TILT_STACKS,
)


def _if_any(columns: RelionColumns, name: str) -> np.ndarray | None:
    """Numbers of a column, of its own row or its group's, that nothing depends on."""
    block = next((b for b in columns.blocks if name in b.frame.columns), None)
    values = None if block is None else numbers_if_any(block, name)
    return values if values is None or block is columns.particles else values[columns.row]


def _three_dimensional(columns: RelionColumns, files: ImageFiles) -> Iterator[str]:
    """Reasons to think that the images are not single projections."""
    for block in (*columns.blocks, *columns.others):
        if TILT_STACKS not in block.frame.columns:
            continue
        if truths(block, TILT_STACKS, columns.path).any():
            yield f"_{TILT_STACKS} is set: each is a stack of a tilt series' images"
    dimensions = _if_any(columns, DIMENSIONS)
    if dimensions is not None and (dimensions == 3).any():
        yield f"_{DIMENSIONS} is 3: each is a volume"
    told = next((name for name in OF_SUBTOMOGRAMS if name in columns.names), None)
    for number in files.whole:
        row = int((files.stack_of == number).argmax())
        name = columns.particles.frame[IMAGE_NAME][row]
        if told is not None:
            yield f"_{told} is there, and row {row + 1} names a whole file, {name}"
        elif is_file(files.stacks[number]):
            header = read_header(files.stacks[number])
            if header.shape[0] > 1:
                kind = "images" if header.is_stack else "sections"
                yield (
                    f"row {row + 1} has the image name {name} without a number, but the file holds "
                    f"{header.shape[0]} {kind}"
                )


def require_projections(columns: RelionColumns, files: ImageFiles) -> None:
    """Require single images, as they were taken: no subtomograms, none to be mirrored.

    Raises
    ------
    InputError
        For the first reason to think otherwise.
    """
    for reason in _three_dimensional(columns, files):
        raise InputError(
            f"the particles are not single images but subtomograms, it seems: {reason}",
            where=columns.path,
            hint="give particles with one projection each, named NUMBER@FILE",
        )
    mirrored = _if_any(columns, MIRRORED)
    if mirrored is not None and mirrored.any():
        raise InputError(
            f"row {int((mirrored != 0).argmax()) + 1} has _{MIRRORED} set: its image is to be "
            "mirrored, which is not done here",
            where=columns.path,
            hint="mirror the images themselves, or remove the column",
        )
