"""Particles' images as a search reads them: masked, in its working box, and their CTFs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from vitreous.engine.images import (
    CtfMode,
    Frame,
    GroupBox,
    OnEvent,
    group_box,
    optics_of,
    particle_ctf,
)
from vitreous.imaging.ctf import Optics
from vitreous.math.fourier import resample
from vitreous.particles.loader import TransformCache
from vitreous.particles.particle_set import ParticleSet
from vitreous.particles.stack import ImageSource, normalise

Transform = Callable[[Float[Tensor, "n b b"]], Complex[Tensor, "n ..."]]
"""From masked images to what is kept of them."""

READ_BATCH = 512
"""Images read and transformed at once."""


@dataclass(frozen=True)
class ImageReader:
    """Particles' images as a frame needs them: read, normalised, cropped and masked.

    Images are normalised outside the mask, cropped in Fourier space to their group's working box
    and multiplied by the soft circular mask.  In noise of standard deviation 1 the same density
    is fainter, the wider the field of view: transforms at the frame's frequencies are to be
    multiplied by the group's ``steps``, which gives density the same strength in all groups, and
    masked noise the power that it has in the frame's field.
    """

    table: ParticleSet
    source: ImageSource
    frame: Frame

    @cached_property
    def group(self) -> Int[Tensor, " n"]:
        """Index of each particle's optics group."""
        return torch.from_numpy(self.table.group.astype(np.int64))

    @cached_property
    def boxes(self) -> dict[int, GroupBox]:
        """How the images of every optics group come to the frame."""
        numbers = np.unique(self.table.group).tolist()
        return {number: group_box(self.table.optics[number], self.frame) for number in numbers}

    def optics(self, number: int) -> Optics:
        """What the CTF needs of an optics group."""
        return optics_of(self.table.optics[number])

    def batches(self, rows: Int[np.ndarray, " n"]) -> Iterator[tuple[int, Int[np.ndarray, " b"]]]:
        """Optics group of some of these rows, and which of them they are, a few at a time."""
        groups = self.table.group[rows]
        for number in np.unique(groups).tolist():
            own = np.flatnonzero(groups == number)
            for part in np.array_split(own, math.ceil(len(own) / READ_BATCH)):
                yield number, part

    def masked(self, number: int, rows: Int[np.ndarray, " b"]) -> Float[Tensor, "b m m"]:
        """Images of an optics group in its own working box.

        Raises
        ------
        InputError
            For an image that cannot be read or holds NaN or one value only, naming its row.
        """
        group, own = self.table.optics[number], self.boxes[number]
        radius = self.frame.mask_radius * self.frame.pixel_size / group.pixel_size
        images = torch.from_numpy(self.source.read(rows))
        return resample(normalise(images, min(radius, group.box / 2 - 1)), own.box, 2) * own.mask

    def transformed(
        self, shape: tuple[int, ...], transform_of: Callable[[int], Transform]
    ) -> Callable[[Int[np.ndarray, " n"]], Complex[Tensor, "n ..."]]:
        """What makes rows of this shape of any particles, given each optics group's transform.

        A transform may give the first part of a row alone: zeros follow.
        """
        ready = cache(transform_of)

        def make(rows: Int[np.ndarray, " n"]) -> Complex[Tensor, "n ..."]:
            out = torch.zeros(len(rows), *shape, dtype=torch.complex64)
            for number, part in self.batches(rows):
                made = ready(number)(self.masked(number, rows[part]))
                out[torch.from_numpy(part), : made.shape[1]] = made
            return out

        return make

    def loaded(
        self,
        make: Callable[[Int[np.ndarray, " n"]], Complex[Tensor, "n ..."]],
        own: range,
        kept: TransformCache,
        on_event: OnEvent,
    ) -> Iterator[tuple[Int[np.ndarray, " b"], Complex[Tensor, "b ..."]]]:
        """Read each of these particles once: rows of the table and of numbers, which are kept."""
        count, done = len(own), 0
        for _, places in self.batches(np.arange(own.start, own.stop)):
            rows = places + own.start
            values = make(rows)
            kept.put(rows, values)
            yield rows, values
            done += len(rows)
            on_event({"event": "progress", "stage": "reading", "iteration": done, "of": count})


@dataclass(frozen=True)
class TransferFunctions:
    """CTFs of particles, made when they are asked for.

    Attributes
    ----------
    reader : ImageReader
    points : tensor (samples, 2)
        Frequencies (x, y), 1/angstrom, on the device that CTFs are made on.
    shell : integer tensor (samples,)
        Ring or shell of each sample, rising, on the host: the CTF is 0 where a group's pixels do
        not hold it.
    mode : CtfMode
    """

    reader: ImageReader
    points: Float[Tensor, "m 2"]
    shell: Int[Tensor, " m"]
    mode: CtfMode

    def at(self, index: Int[Tensor, " n"], count: int) -> Float[Tensor, "n c"]:
        """Of some particles at the first samples."""
        rows, shell = index.cpu().numpy(), self.shell[:count]
        out = torch.zeros(len(rows), count, device=self.points.device)
        for number, part in self.reader.batches(rows):
            held = int((shell < self.reader.boxes[number].rings).sum())
            where, optics = torch.from_numpy(part).to(out.device), self.reader.optics(number)
            if self.mode.ctf:
                out[where, :held] = particle_ctf(
                    self.reader.table, rows[part], optics, self.points[:held], self.mode
                )
            else:
                out[where, :held] = 1
        return out
