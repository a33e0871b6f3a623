"""How a movie's content moves: a curve for the whole, and a smooth field on top of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from vitreous.preprocessing.splines import spline_basis


def frame_times(frames: int) -> Float[np.ndarray, " frames"]:
    """Middle of each frame, from 0 to 1."""
    return (np.arange(frames) + 0.5) / frames


@dataclass(frozen=True)
class MotionField:
    """Displacement of the content, in pixels, of every place in every frame.

    Attributes
    ----------
    curve : array (frames, 2)
        Of the movie as a whole, along x and y.
    splines : array (rows, columns, times, 2)
        Coefficients of what is added to it; all zero without local motion.
    """

    curve: Float[np.ndarray, "frames 2"]
    splines: Float[np.ndarray, "rows columns times 2"]

    @property
    def frames(self) -> int:
        """Frames of the movie."""
        return len(self.curve)

    @property
    def is_local(self) -> bool:
        """Whether places move apart."""
        return bool(self.splines.any())

    def by_frame(self) -> Float[np.ndarray, "frames rows columns 2"]:
        """The splines' coefficients in each frame, relative to the first frame."""
        values = spline_basis(frame_times(self.frames), self.splines.shape[2])
        return np.einsum("yxld,tl->tyxd", self.splines, values - values[0])

    def at(
        self, y: Float[np.ndarray, " n"], x: Float[np.ndarray, " m"]
    ) -> Float[np.ndarray, "frames n m 2"]:
        """Displacements at places of a grid, from 0 to 1, relative to the first frame."""
        rows, columns = self.splines.shape[:2]
        along_y, along_x = spline_basis(y, rows), spline_basis(x, columns)
        local = np.einsum("ni,mj,tijd->tnmd", along_y, along_x, self.by_frame())
        return (self.curve - self.curve[0])[:, None, None] + local

    def scaled(self, factor: float) -> MotionField:
        """The same field in pixels of another size."""
        return MotionField(self.curve * factor, self.splines * factor)

    def whole_curve(self) -> Float[np.ndarray, "frames 2"]:
        """Mean displacement in each frame, relative to the first."""
        places = np.linspace(0, 1, 9)
        return np.asarray(self.at(places, places).mean((1, 2)))
