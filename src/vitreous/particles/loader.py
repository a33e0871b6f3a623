"""Transforms of the particles' images: kept as far as memory reaches, else read and made again."""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Complex, Int
from torch import Tensor

from vitreous.errors import OptionError

KEPT_BYTES, SCRATCH_BYTES = 8, 4
"""Bytes of a number in memory (complex64), and in the scratch file (two of float16: transforms are
unitary, so that noise is near 1 there)."""


Item = TypeVar("Item")
Made = TypeVar("Made")


@dataclass(frozen=True)
class Room:
    """Where transforms may be kept.

    Attributes
    ----------
    memory : float
        Bytes of memory.
    scratch : Path or None
        Folder for a file with those that memory does not hold.
    """

    memory: float = math.inf
    scratch: Path | None = None


class TransformCache:
    """One row of complex numbers for each particle, made from its image.

    The first particles are kept in memory, those that follow in a scratch file if there is one;
    others are made again whenever they are asked for.

    Parameters
    ----------
    particles : int
    shape : tuple of int
        Of a row.
    make : callable
        Rows of particles, (particles, *shape) complex64 on the host, from their numbers.
    room : Room
    device : torch.device
        Where rows are kept and handed out.

    Raises
    ------
    OptionError
        If there is no room or right to write into the scratch folder.
    """

    def __init__(
        self,
        particles: int,
        shape: tuple[int, ...],
        make: Callable[[Int[np.ndarray, " n"]], Complex[Tensor, "n ..."]],
        room: Room,
        device: torch.device,
    ):
        size = math.prod(shape)
        kept = int(min(particles, room.memory // (KEPT_BYTES * max(size, 1))))
        self._kept = torch.zeros(kept, *shape, dtype=torch.complex64, device=device)
        self._beyond: _Scratch | None = None
        if kept < particles and room.scratch is not None:
            self._beyond = _Scratch(room.scratch, (particles - kept, *shape, 2))
        self._make = make
        self.device = device

    def put(self, rows: Int[np.ndarray, " n"], values: Complex[Tensor, "n ..."]) -> None:
        """Keep the rows of some particles, if there is room for them."""
        held = rows < len(self._kept)
        where = torch.from_numpy(rows[held]).to(self.device)
        self._kept[where] = values[torch.from_numpy(held)].to(self.device)
        if self._beyond is not None and not held.all():
            self._beyond.put(rows[~held] - len(self._kept), values[torch.from_numpy(~held)])

    def at(self, index: Int[Tensor, " n"]) -> Complex[Tensor, "n ..."]:
        """Rows of some particles, on the device."""
        rows = index.to(self.device)
        if len(self._kept) == 0 or bool((rows >= len(self._kept)).any()):
            return self._gathered(index.cpu())
        return self._kept[rows]

    def _gathered(self, index: Int[Tensor, " n"]) -> Complex[Tensor, "n ..."]:
        held = index < len(self._kept)
        out = self._kept.new_zeros(len(index), *self._kept.shape[1:])
        out[held.to(self.device)] = self._kept[index[held].to(self.device)]
        others = index[~held].numpy()
        if self._beyond is not None:
            made = self._beyond.at(others - len(self._kept))
        else:
            made = self._make(others)
        out[(~held).to(self.device)] = made.to(self.device)
        return out


class _Scratch:
    """Rows in a file without a name, which vanishes with the process."""

    def __init__(self, folder: Path, shape: tuple[int, ...]):
        needed = SCRATCH_BYTES * math.prod(shape) // 2
        try:
            free = shutil.disk_usage(folder).free
            if free < needed:
                raise OptionError(
                    f"{folder} has {free / 1e9:.1f} GB free, the images need {needed / 1e9:.1f} GB",
                    where="--scratch",
                    hint="name a folder with more room, or leave the option out",
                )
            with tempfile.TemporaryFile(dir=folder) as file:
                if hasattr(os, "posix_fallocate"):  # a full disk is told now, not by a crash later
                    os.posix_fallocate(file.fileno(), 0, needed)
                self._rows = np.memmap(file, dtype=np.float16, mode="w+", shape=shape)
        except OSError as error:
            raise OptionError(
                f"{folder} cannot be written to: {error.strerror or error}",
                where="--scratch",
                hint="name a folder that can",
            ) from error

    def put(self, rows: Int[np.ndarray, " n"], values: Complex[Tensor, "n ..."]) -> None:
        self._rows[rows] = torch.view_as_real(values).cpu().half().numpy()

    def at(self, rows: Int[np.ndarray, " n"]) -> Complex[Tensor, "n ..."]:
        return torch.view_as_complex(torch.from_numpy(self._rows[rows]).float())


def ahead(items: Iterable[Item], make: Callable[[Item], Made]) -> Iterator[tuple[Item, Made]]:
    """Each item and what is made of it; the next is made while the caller uses this one."""
    with ThreadPoolExecutor(1) as pool:
        pending: tuple[Item, Future[Made]] | None = None
        for item in items:
            following = item, pool.submit(make, item)
            if pending is not None:
                yield pending[0], pending[1].result()
            pending = following
        if pending is not None:
            yield pending[0], pending[1].result()
