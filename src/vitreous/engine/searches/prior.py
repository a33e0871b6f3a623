"""Priors about where particles lay before they were searched."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vitreous.math.rotations import angular_distance


@dataclass(frozen=True)
class PlacePrior:
    """Gaussian priors of some images about their first orientations and shifts.

    Attributes
    ----------
    matrices : tensor (images, 3, 3)
        First orientations, float64.
    offsets : tensor (images, 2)
        Present shifts less the first, pixels.
    angle : float
        Standard deviation of the angle from the first orientation, degrees; infinite for none.
    shift : float
        Standard deviation of the shift along x and y, pixels; infinite for none.
    """

    matrices: Float[Tensor, "n 3 3"]
    offsets: Float[Tensor, "n 2"]
    angle: float
    shift: float

    def at(self, index: Int[Tensor, " m"]) -> PlacePrior:
        """The same of some images."""
        return PlacePrior(self.matrices[index], self.offsets[index], self.angle, self.shift)

    def to(self, device: torch.device) -> PlacePrior:
        """The same on another device."""
        return replace(self, matrices=self.matrices.to(device), offsets=self.offsets.to(device))

    def log(
        self, turned: Float[Tensor, "n j 3 3"], shifts: Float[Tensor, "t 2"]
    ) -> Float[Tensor, "n j t"]:
        """Log of the prior, up to a constant, of orientations and of further shifts."""
        turn = angular_distance(turned, self.matrices[:, None]) / self.angle
        moved = (self.offsets[:, None] + shifts).norm(dim=-1) / self.shift
        return -(turn[:, :, None] ** 2 + moved[:, None] ** 2).to(shifts) / 2
