"""What every kind of movie file is opened as."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Real

from vitreous.errors import InputError


@dataclass(frozen=True)
class Movie(ABC):
    """A movie on disk.

    Attributes
    ----------
    path : Path
    frames, height, width : int
    dtype : numpy dtype
        Of the numbers that frames are read as.
    """

    path: Path
    frames: int
    height: int
    width: int
    dtype: np.dtype[Any]

    def __len__(self) -> int:
        """Frames."""
        return self.frames

    @abstractmethod
    def frame(self, number: int) -> Real[np.ndarray, "h w"]:
        """Read a frame, counted from 0.

        Raises
        ------
        InputError
            If it cannot be read or has another size than the first.
        """

    def broken(self, number: int, why: str) -> InputError:
        """What is said of a frame that cannot be used."""
        return InputError(
            f"frame {number + 1} of {self.frames} {why}",
            where=self.path,
            hint="copy the file again, or leave it out",
        )
