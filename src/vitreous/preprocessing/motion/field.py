"""How a movie's content moves: a curve for the whole, and a smooth field on top of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from vitreous.preprocessing.splines import spline_basis

_GROUPS = 20
"""Groups of frames, about, that local motion is found from: twice its splines in time."""

_PLACES = 9
"""Places along a side at which a field is looked at."""

_AS_ONE = 0.05
"""Pixels by which frames of a run may move apart."""


def frame_times(frames: int) -> Float[np.ndarray, " frames"]:
    """Middle of each frame, from 0 to 1."""
    return (np.arange(frames) + 0.5) / frames


def frame_groups(frames: int) -> list[Int[np.ndarray, " n"]]:
    """Runs of neighbouring frames, of one length or almost, between which local motion is small."""
    return np.array_split(np.arange(frames), frames // max(frames // _GROUPS, 1))


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
        return (self.curve - self.curve[0])[:, None, None] + self.local_at(y, x)

    def local_at(
        self, y: Float[np.ndarray, " n"], x: Float[np.ndarray, " m"]
    ) -> Float[np.ndarray, "frames n m 2"]:
        """What of the displacements at places of a grid is local."""
        rows, columns = self.splines.shape[:2]
        along_y, along_x = spline_basis(y, rows), spline_basis(x, columns)
        return np.asarray(np.einsum("ni,mj,tijd->tnmd", along_y, along_x, self.by_frame()))

    def runs_as_one(self) -> list[range]:
        """Runs of neighbouring frames whose places move as one.

        In each the local displacement of a frame differs from the run's mean by no more than 0.05
        pixels, root mean square over places, along x and along y: 1 % of the highest frequency.
        """
        places = np.linspace(0, 1, _PLACES)
        local = self.local_at(places, places).reshape(self.frames, -1, 2)
        runs, first = [], 0
        for last in range(1, self.frames + 1):
            longer = local[first : last + 1] - local[first : last + 1].mean(0)
            if last == self.frames or np.sqrt((longer**2).mean(1).max()) > _AS_ONE:
                runs.append(range(first, last))
                first = last
        return runs

    def scaled(self, factor: float) -> MotionField:
        """The same field in pixels of another size."""
        return MotionField(self.curve * factor, self.splines * factor)

    def whole_curve(self) -> Float[np.ndarray, "frames 2"]:
        """Mean displacement in each frame, relative to the first."""
        places = np.linspace(0, 1, _PLACES)
        return np.asarray(self.at(places, places).mean((1, 2)))
