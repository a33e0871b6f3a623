"""What was done about the CTF in the images that a set names."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int


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
        Factor; None where it is 1 for all.
    bfactor : array (particles,) or None
        Angstrom^2; None where it is 0 for all.
    """

    flipped: Bool[np.ndarray, " n"]
    premultiplied: Bool[np.ndarray, " n"]
    scale: Float[np.ndarray, " n"] | None = None
    bfactor: Float[np.ndarray, " n"] | None = None

    def take(self, rows: Int[np.ndarray, " m"]) -> CtfState:
        """State of some images."""
        return CtfState(
            self.flipped[rows],
            self.premultiplied[rows],
            None if self.scale is None else self.scale[rows],
            None if self.bfactor is None else self.bfactor[rows],
        )
