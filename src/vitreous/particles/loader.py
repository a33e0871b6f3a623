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
    spread : bool
        Each rank keeps those of its own particles.
    """

    memory: float = math.inf
    scratch: Path | None = None
    spread: bool = False


class TransformCache:
    """One row of complex numbers for each particle, made from its image.

    The first of some particles are kept in memory, those that follow in a scratch file if there is
    one; others are made again whenever they are asked for.

    Parameters
    ----------
    own : range
        Numbers of the particles that are kept as far as there is room.
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
        own: range,
        shape: tuple[int, ...],
        make: Callable[[Int[np.ndarray, " n"]], Complex[Tensor, "n ..."]],
        room: Room,
        device: torch.device,
    ):
        size = math.prod(shape)
        kept = int(min(len(own), room.memory // (KEPT_BYTES * max(size, 1))))
        self._kept = torch.zeros(kept, *shape, dtype=torch.complex64, device=device)
        self._beyond: _Scratch | None = None
        if kept < len(own) and room.scratch is not None:
            self._beyond = _Scratch(room.scratch, (len(own) - kept, *shape, 2))
        self._own = own
        self._make = make
        self.device = device

    @property
    def holds_all(self) -> bool:
        """Whether memory has room for all particles of its own."""
        return len(self._kept) == len(self._own)

    @property
    def held(self) -> Complex[Tensor, "m ..."]:
        """Rows of the first particles of its own, which memory has room for."""
        return self._kept

    def put(self, rows: Int[np.ndarray, " n"], values: Complex[Tensor, "n ..."]) -> None:
        """Keep the rows of some particles of its own, if there is room for them."""
        places = rows - self._own.start
        held = places < len(self._kept)
        where = torch.from_numpy(places[held]).to(self.device)
        self._kept[where] = values[torch.from_numpy(held)].to(self.device)
        if self._beyond is not None and not held.all():
            self._beyond.put(places[~held] - len(self._kept), values[torch.from_numpy(~held)])

    def at(self, index: Int[Tensor, " n"]) -> Complex[Tensor, "n ..."]:
        """Rows of some particles, on the device."""
        places = index.cpu() - self._own.start
        held = (places >= 0) & (places < len(self._kept))
        if bool(held.all()):
            return self._kept[places.to(self.device)]
        out = self._kept.new_zeros(len(index), *self._kept.shape[1:])
        out[held.to(self.device)] = self._kept[places[held].to(self.device)]
        missing = torch.nonzero(~held)[:, 0]
        out[missing.to(self.device)] = self._found(index.cpu()[missing].numpy()).to(self.device)
        return out

    def _found(self, rows: Int[np.ndarray, " n"]) -> Complex[Tensor, "n ..."]:
        """Rows that memory does not hold."""
        first = self._own.start + len(self._kept)
        if self._beyond is None:
            return self._make(rows)
        kept = (rows >= first) & (rows < self._own.stop)
        if kept.all():
            return self._beyond.at(rows - first)
        out = torch.zeros(len(rows), *self._kept.shape[1:], dtype=torch.complex64)
        out[torch.from_numpy(kept)] = self._beyond.at(rows[kept] - first)
        out[torch.from_numpy(~kept)] = self._make(rows[~kept])
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
