"""What a search knows of each image: tensors of one row an image, kept together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import TypeVar

import torch
from jaxtyping import Int, Shaped
from torch import Tensor

Own = TypeVar("Own", bound="PerImage")


@dataclass(frozen=True)
class PerImage:
    """Base of dataclasses whose fields are all tensors of one row an image."""

    def _each(self: Own, changed: Callable[[str, Tensor], Tensor]) -> Own:
        names = (field.name for field in fields(self))
        return type(self)(*(changed(name, getattr(self, name)) for name in names))

    def at(self: Own, index: Int[Tensor, " m"]) -> Own:
        """The same of some images, in this order."""
        return self._each(lambda _, rows: rows[index])

    def to(self: Own, device: torch.device) -> Own:
        """The same on another device."""
        return self._each(lambda _, rows: rows.to(device))

    def put(self: Own, index: Int[Tensor, " m"], other: Own) -> Own:
        """The same with what another holds in place of some images' own."""
        return self._each(lambda name, rows: rows_put(rows, index, getattr(other, name)))

    @classmethod
    def joined(cls: type[Own], parts: Sequence[Own]) -> Own:
        """The images of several parts, one after the other."""
        names = (field.name for field in fields(cls))
        return cls(*(torch.cat([getattr(part, name) for part in parts]) for name in names))


def rows_put(
    rows: Shaped[Tensor, "n ..."], index: Int[Tensor, " m"], new: Shaped[Tensor, "m ..."]
) -> Shaped[Tensor, "n ..."]:
    """Rows with new ones at some places."""
    return rows.index_copy(0, index, new.to(rows))
