"""What a table's columns say that its images are: refused or known to every job alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from vitreous.errors import InputError
from vitreous.io.mrc import read_header
from vitreous.io.regular import is_file
from vitreous.io.star import StarBlock
from vitreous.particles.columns import JoinedBlocks, truths
from vitreous.particles.image_files import IMAGE_NAME, ImageFiles

FLIPPED, PREMULTIPLIED = "rlnCtfDataArePhaseFlipped", "rlnCtfDataAreCtfPremultiplied"
_SCALE, _BFACTOR = "rlnCtfScalefactor", "rlnCtfBfactor"
_TILT_STACKS, _DIMENSIONS, _MIRRORED = (
    *("rlnTomoSubTomosAre2DStacks", "rlnImageDimensionality", "rlnIsFlip"),
)
_OF_SUBTOMOGRAMS = ("rlnTomoName", "rlnTomoVisibleFrames", "rlnCtfImage")
"""Columns that tables of subtomograms have."""


@dataclass(frozen=True)
class CtfState:
    """What was done about the CTF in each image, and what its amplitude is multiplied by.

    Attributes
    ----------
    flipped : bool array (particles,)
        The phases were flipped: the image carries the CTF's absolute value.
    premultiplied : bool array (particles,)
        The image was multiplied by its CTF.
    scale : array (particles,) or None
        rlnCtfScalefactor; None where it is 1 for all.
    bfactor : array (particles,) or None
        rlnCtfBfactor, angstrom^2; None where it is 0 for all.
    """

    flipped: Bool[np.ndarray, " n"]
    premultiplied: Bool[np.ndarray, " n"]
    scale: Float[np.ndarray, " n"] | None = None
    bfactor: Float[np.ndarray, " n"] | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        """What the table says was done to the images, for the user."""
        kinds = (
            (self.flipped, "phase-flipped", FLIPPED),
            (self.premultiplied, "premultiplied by their CTF", PREMULTIPLIED),
        )
        return tuple(
            f"{'All' if said.all() else f'{said.sum():,} of {len(said):,}'} images are taken as "
            f"{words}, as _{name} says."
            for said, words, name in kinds
            if said.any()
        )

    def take(self, rows: Int[np.ndarray, " m"]) -> CtfState:
        """State of some images."""
        return CtfState(
            self.flipped[rows],
            self.premultiplied[rows],
            None if self.scale is None else self.scale[rows],
            None if self.bfactor is None else self.bfactor[rows],
        )


def _flag(blocks: JoinedBlocks, name: str) -> Bool[np.ndarray, " n"]:
    flags = blocks.truths(name)
    return np.zeros(len(blocks.row), dtype=bool) if flags is None else flags


def _unless(blocks: JoinedBlocks, name: str, neutral: float) -> Float[np.ndarray, " n"] | None:
    """A column's numbers; None if there are none or all are neutral."""
    values = blocks.numbers(name)
    return None if values is None or (values == neutral).all() else values


def ctf_state(blocks: JoinedBlocks) -> CtfState:
    """State of the CTF in all images.

    Raises
    ------
    InputError
        For cells that do not parse, and images said to be flipped and multiplied at once.
    """
    flipped, premultiplied = _flag(blocks, FLIPPED), _flag(blocks, PREMULTIPLIED)
    both = flipped & premultiplied
    if both.any():
        raise InputError(
            f"row {int(both.argmax()) + 1} has both _{FLIPPED} and _{PREMULTIPLIED}",
            where=blocks.path,
            hint="keep the one that is true",
        )
    scale, bfactor = _unless(blocks, _SCALE, 1.0), _unless(blocks, _BFACTOR, 0.0)
    return CtfState(flipped, premultiplied, scale, bfactor)


def _three_dimensional(
    blocks: JoinedBlocks, others: Mapping[str, StarBlock], files: ImageFiles
) -> Iterator[str]:
    """Reasons to think that the images are not single projections."""
    for block in (blocks.particles, blocks.optics, *others.values()):
        if block is None or _TILT_STACKS not in block.frame.columns:
            continue
        if truths(block, _TILT_STACKS, blocks.path).any():
            yield f"_{_TILT_STACKS} is set: each is a stack of a tilt series' images"
    dimensions = blocks.numbers_if_any(_DIMENSIONS)
    if dimensions is not None and (dimensions == 3).any():
        yield f"_{_DIMENSIONS} is 3: each is a volume"
    told = next((name for name in _OF_SUBTOMOGRAMS if name in blocks.particles.frame.columns), None)
    for number in files.whole:
        row = int((files.stack_of == number).argmax())
        name = blocks.particles.frame[IMAGE_NAME][row]
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


def require_projections(
    blocks: JoinedBlocks, others: Mapping[str, StarBlock], files: ImageFiles
) -> None:
    """Require single images, as they were taken: no subtomograms, none to be mirrored.

    Raises
    ------
    InputError
        For the first reason to think otherwise.
    """
    for reason in _three_dimensional(blocks, others, files):
        raise InputError(
            f"the particles are not single images but subtomograms, it seems: {reason}",
            where=blocks.path,
            hint="give particles with one projection each, named NUMBER@FILE",
        )
    mirrored = blocks.numbers_if_any(_MIRRORED)
    if mirrored is not None and mirrored.any():
        raise InputError(
            f"row {int((mirrored != 0).argmax()) + 1} has _{_MIRRORED} set: its image is to be "
            "mirrored, which is not done here",
            where=blocks.path,
            hint="mirror the images themselves, or remove the column",
        )
