"""The particles' images: checked at opening, read when asked for."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.linalg import vecdot

from vitreous.conventions import MIN_BOX
from vitreous.errors import InputError
from vitreous.io.mrc import StackFile, open_stack
from vitreous.math.fourier import crop_or_pad, frequency_radius
from vitreous.particles.particle_set import ParticleSet


@dataclass(frozen=True)
class ImageSource:
    """A table's image stacks, open but unread.

    Attributes
    ----------
    table : ParticleSet
    stacks : tuple of StackFile
    sign : array (particles,) or None
        1, or -1 for images that are dark on light; None if none is.
    """

    table: ParticleSet
    stacks: tuple[StackFile, ...]
    sign: Float[np.ndarray, " n"] | None = None

    def of(self, table: ParticleSet) -> ImageSource:
        """The same stacks as another table of them has its images there.

        Raises
        ------
        InputError
            For a table of other stacks.
        """
        if table.stacks != self.table.stacks:
            raise InputError(
                "its images lie in other stacks than those opened",
                where=table.path,
                hint="open the images of this table",
            )
        return replace(self, table=table, sign=_signs(table))

    def read(self, rows: np.ndarray) -> Float[np.ndarray, "m box box"]:
        """Images of these rows, float32, in the order asked.

        Raises
        ------
        InputError
            For an image with NaN or infinite values, or with one value only, naming its row.
        ValueError
            If the rows are of different boxes.
        """
        images = self.read_unchecked(rows)
        self._check_values(rows, images)
        return images

    def read_unchecked(
        self, rows: np.ndarray, lines: slice = slice(None)
    ) -> Float[np.ndarray, "m lines box"]:
        """Images of these rows, or some lines of them, whatever values they hold.

        Raises
        ------
        ValueError
            If the rows are of different boxes.
        """
        boxes = {self.table.optics[g].box for g in np.unique(self.table.group[rows])}
        if len(boxes) != 1:
            raise ValueError(f"rows of one box at a time, not {sorted(boxes)}")
        box = boxes.pop()
        images = np.empty((len(rows), len(range(box)[lines]), box), dtype=np.float32)
        stack_of = self.table.stack_of[rows]
        for number in np.unique(stack_of):
            here = stack_of == number
            images[here] = self.stacks[number].read(self.table.index_in_stack[rows[here]], lines)
        if self.sign is not None:
            images *= self.sign[rows, None, None].astype(np.float32)
        return images

    def _check_values(self, rows: np.ndarray, images: np.ndarray) -> None:
        spread = images.max(axis=(1, 2)) - images.min(axis=(1, 2))
        for bad, what in (
            (~np.isfinite(spread), "holds NaN or infinite values"),
            (spread == 0, "is constant: every pixel has the same value"),
        ):
            if bad.any():
                raise InputError(
                    f"the image of {self.table.row_name(int(rows[bad.argmax()]))} {what}",
                    where=self.table.path,
                    hint="remove the particle or extract it again",
                )


def _signs(table: ParticleSet) -> Float[np.ndarray, " n"] | None:
    """What the images' pixels are multiplied by, so that particles are white; None for 1."""
    sign = table.image_sign
    if sign is None or (sign == 1).all():
        return None
    odd = np.abs(sign) != 1
    if odd.any():
        row = int(odd.argmax())
        raise InputError(
            f"{table.row_name(row)} has {sign[row]:g} in the column "
            f"{table.called(ParticleSet.image_sign)}, expected 1 or -1",
            where=table.path,
            hint="mend that cell, or leave the column out",
        )
    return sign


def open_images(table: ParticleSet) -> ImageSource:
    """Open every stack of a table and check it against the table, reading headers only.

    Raises
    ------
    InputError
        For truncated stacks, indices past the end, images that are not square or not of the
        optics group's box, and boxes that are odd or too small.
    """
    for group in table.optics:
        if group.box % 2 or group.box < MIN_BOX:
            raise InputError(
                f"optics group {group.number} has a box of {group.box} px, expected an even one "
                f"of at least {MIN_BOX}",
                where=table.path,
                hint="extract the particles again in a larger even box",
            )
    stacks = tuple(open_stack(path) for path in table.stacks)
    lengths = np.array([stack.shape[0] for stack in stacks])[table.stack_of]
    beyond = table.index_in_stack >= lengths
    if beyond.any():
        row = int(beyond.argmax())
        raise InputError(
            f"{table.row_name(row)} asks for image {table.index_in_stack[row] + 1}, but "
            f"{table.stacks[table.stack_of[row]]} holds {lengths[row]}",
            where=table.path,
            hint="mend the table or give the whole stack",
        )
    shapes = np.array([stack.shape[1:] for stack in stacks])[table.stack_of]
    boxes = np.array([group.box for group in table.optics])[table.group]
    wrong = (shapes != boxes[:, None]).any(axis=1)
    if wrong.any():
        row = int(wrong.argmax())
        raise InputError(
            f"{table.row_name(row)} is {shapes[row][1]} x {shapes[row][0]} px, expected "
            f"{boxes[row]} x {boxes[row]} as its optics group says",
            where=table.path,
            hint=f"mend {table.carried.called_in_optics('box')} or extract the particles again",
        )
    return ImageSource(table, stacks, _signs(table))


def normalise(images: Float[Tensor, "m n n"], radius: float) -> Float[Tensor, "m n n"]:
    """Scale images to mean 0 and standard deviation 1 outside a circle of ``radius`` pixels."""
    outside = (frequency_radius(images.shape[-1], 2, images.device) > radius).float()
    count = outside.sum()
    # Line by line: the sums of a product of matrices, and those that cores share, change in the
    # last bit with the number of images.
    centred = images - (vecdot(images, outside).sum(dim=1) / count)[:, None, None]
    variance = vecdot(centred.square(), outside).sum(dim=1) / (count - 1)
    return centred.div_(variance.sqrt().clamp(min=1e-12)[:, None, None])


def windows(
    images: Float[Tensor, "m n n"], shifts: Int[Tensor, "m 2"], box: int
) -> Float[Tensor, "m box box"]:
    """Images moved by whole pixels (x, y) and cut to a box about their centre.

    What leaves on one side comes in on the other, as in RELION.
    """
    moved = [
        image.roll((int(y), int(x)), (0, 1)) for image, (x, y) in zip(images, shifts, strict=True)
    ]
    return crop_or_pad(torch.stack(moved), box, 2)
