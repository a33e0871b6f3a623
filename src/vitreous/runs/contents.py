"""A digest of what a job reads, by which a checkpoint knows its own input again."""

from __future__ import annotations

import hashlib
from typing import Any, Protocol

import numpy as np
import polars as pl
from torch import Tensor

from vitreous.particles.particle_set import ParticleSet
from vitreous.particles.stack import ImageSource

_SAMPLED = 64
"""Images whose pixels are looked at: of a stack of which a tenth was replaced, one is in the sample
with a probability of 99.9 %."""


class _Digest(Protocol):
    def update(self, data: Any, /) -> None: ...


def _add_table(digest: _Digest, frame: pl.DataFrame) -> None:
    for name in frame.columns:
        digest.update(name.encode())
        digest.update(str(frame[name].str.join("\n").item()).encode())


def digest_of(table: ParticleSet, source: ImageSource, *volumes: Tensor | None) -> str:
    """Digest of a table, its stacks' sizes, some of its images, and maps or masks.

    It does not depend on where files lie or when they were written.
    """
    digest = hashlib.sha256()
    for frame in table.written.frames:
        _add_table(digest, frame)
    digest.update(str([stack.shape for stack in source.stacks]).encode())
    count = min(_SAMPLED, len(table))
    for row in np.linspace(0, len(table) - 1, count).round().astype(np.int64):
        digest.update(source.read_unchecked(row[None]).tobytes())
    for volume in volumes:
        digest.update(b"none" if volume is None else volume.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
