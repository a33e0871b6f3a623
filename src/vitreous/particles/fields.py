"""Fields of a particle set: what the package knows of a particle, whatever file it is from."""

from __future__ import annotations

from typing import Any, Generic, Literal, Protocol, TypeVar, overload

import numpy as np
import polars as pl
from jaxtyping import Bool, Float, Int

Reals = Float[np.ndarray, " n"]
Wholes = Int[np.ndarray, " n"]
Truths = Bool[np.ndarray, " n"]
ManyReals = Float[np.ndarray, "n k"]
Texts = pl.Series

Kind = Literal["real", "whole", "truth", "text"]

Values = TypeVar("Values")


class _Holder(Protocol):
    def of_field(self, field: Field[Values]) -> Values | None: ...


class Field(Generic[Values]):
    """One array of a particle set, with a value for each particle; None where there is none.

    On the class of particle sets it is the field itself, which names and conversions of a file's
    format are looked up by.

    Parameters
    ----------
    kind : {"real", "whole", "truth", "text"}
        Of its values.
    """

    def __init__(self, kind: Kind) -> None:
        self.kind: Kind = kind
        self.name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        """Learn the name that the class has it under."""
        self.name = name

    def __repr__(self) -> str:
        """Return its name."""
        return f"Field({self.name!r})"

    @overload
    def __get__(self, holder: None, owner: Any = None) -> Field[Values]: ...
    @overload
    def __get__(self, holder: _Holder, owner: Any = None) -> Values | None: ...
    def __get__(self, holder: _Holder | None, owner: Any = None) -> Field[Values] | Values | None:
        """Give the values of a particle set, or of its class the field itself."""
        return self if holder is None else holder.of_field(self)
