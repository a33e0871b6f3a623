"""What holds particles near their first places when only a part of the map is refined."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vitreous.config.refine import RefineConfig
from vitreous.engine.local_pass import PoseMatrices
from vitreous.engine.searches.prior import PlacePrior
from vitreous.errors import OptionError
from vitreous.math.symmetry import point_group
from vitreous.runs.options import flag


@dataclass(frozen=True)
class Locality:
    """First places of all particles and how firmly they are held there.

    Attributes
    ----------
    start : PoseMatrices
        Origins in angstrom.
    angle, shift : float
        Standard deviations of the priors, degrees and angstrom; infinite for none.
    fulcrum : tensor (3,) or None
        x, y, z in angstrom from the map's centre.
    mates : tensor (mates, 3, 3) or None
        Rotations of the map that lead to other places to be searched.
    """

    start: PoseMatrices
    angle: float
    shift: float
    fulcrum: Float[Tensor, " 3"] | None
    mates: Float[Tensor, "g 3 3"] | None

    @property
    def holds(self) -> bool:
        """Whether there is a prior at all."""
        return min(self.angle, self.shift) < math.inf

    def prior(
        self, index: Int[Tensor, " b"], posed: PoseMatrices, pixel_size: float
    ) -> PlacePrior | None:
        """Priors of some particles, whose present places (pixels) are given."""
        if not self.holds:
            return None
        first = self.start.at(index)
        offsets = posed.origins - (first.origins / pixel_size).to(posed.origins)
        if self.fulcrum is not None:
            point = self.fulcrum / pixel_size
            carried = (posed.matrices - first.matrices)[:, :2] @ point.to(posed.matrices)
            offsets = offsets - carried.to(offsets)
        return PlacePrior(first.matrices, offsets, self.angle, self.shift / pixel_size)


def check_locality(config: RefineConfig) -> None:
    """Require options that are more than 0, and a local search for those that need one.

    Raises
    ------
    OptionError
    """
    for name in ("angle_prior", "shift_prior", "fulcrum", "relax_symmetry"):
        value, where = getattr(config, name), flag(name)
        if value is None:
            continue
        if config.local_search is None:
            raise OptionError(
                "needs the particles' own poses to begin with",
                where=where,
                hint="give --local-search, the first angular step, such as 3.75",
            )
        if name.endswith("prior") and not value > 0:
            raise OptionError(f"{value:g} is not more than 0", where=where)
    if config.relax_symmetry is None:
        return
    if config.symmetry != "C1":
        raise OptionError(
            f"the map has the symmetry {config.symmetry}, under which mates are all alike",
            where="--relax-symmetry",
            hint="leave --symmetry at C1",
        )
    if config.angle_prior is not None:
        raise OptionError(
            "the mates lie farther from the first places than --angle-prior lets them",
            where="--relax-symmetry",
            hint="give one of the two",
        )


def locality_of(config: RefineConfig, start: PoseMatrices) -> Locality:
    """What the options say of particles that lie at ``start`` (angstrom)."""
    fulcrum, group = config.fulcrum, config.relax_symmetry
    return Locality(
        start,
        math.inf if config.angle_prior is None else config.angle_prior,
        math.inf if config.shift_prior is None else config.shift_prior,
        None if fulcrum is None else torch.tensor(fulcrum, dtype=torch.float64),
        None if group is None else point_group(group).double(),
    )
