"""Each particle's own neighbourhood of places, finer than any grid of all orientations could be.

Slices are cut one by one: this pays where a particle's place is known to a few steps.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Complex, Float
from scipy.spatial.transform import Rotation
from torch import Tensor

from vitreous.engine.searches.per_image import PerImage
from vitreous.engine.searches.prior import PlacePrior
from vitreous.imaging.project import FourierCube, shift_phase
from vitreous.ops.cubes import read_planes

_NEGLIGIBLE = 1e-3
"""Share of an image's posterior below which a slice is left out of the sums."""


@dataclass(frozen=True)
class Neighbourhood:
    """Turns and shifts tried round every particle's present place, the present one first.

    Attributes
    ----------
    turns : tensor (turns, 3, 3)
        Rotations in the image frame, put before the particle's own.
    shifts : tensor (shifts, 2)
        Pixels, added to the particle's own.
    log_cell : float
        Log of the prior probability of one turn and shift, where all orientations and shifts
        were alike.
    operators : tensor (operators, 3, 3)
        Point group.
    mates : tensor (mates, 3, 3), optional
        Rotations in the map's frame: the turns are tried round each of these places, too.
    fulcrum : tensor (3,), optional
        Point (x, y, z) of the map, pixels from its centre, that stays where it is in the image
        while the particle turns; by default the centre.
    """

    turns: Float[Tensor, "j 3 3"]
    shifts: Float[Tensor, "t 2"]
    log_cell: float
    operators: Float[Tensor, "s 3 3"]
    mates: Float[Tensor, "g 3 3"] | None = None
    fulcrum: Float[Tensor, " 3"] | None = None

    def to(self, device: torch.device) -> Neighbourhood:
        """The same on another device."""
        mates = None if self.mates is None else self.mates.to(device)
        return replace(
            self, turns=self.turns.to(device), shifts=self.shifts.to(device), mates=mates
        )

    @property
    def orientations(self) -> int:
        """How many are tried for each particle."""
        return len(self.turns) * (1 if self.mates is None else len(self.mates))

    def turned(self, matrices: Float[Tensor, "n 3 3"]) -> Float[Tensor, "n gj 3 3"]:
        """All orientations tried."""
        if self.mates is None:
            return self.turns @ matrices[:, None]
        return (self.turns @ (matrices[:, None] @ self.mates)[:, :, None]).flatten(1, 2)

    def carried(
        self, turned: Float[Tensor, "n j 3 3"], matrices: Float[Tensor, "n 3 3"]
    ) -> Float[Tensor, "n j 2"]:
        """Shifts, pixels, that keep the fulcrum in its place when the particle is turned."""
        if self.fulcrum is None:
            return torch.zeros(*turned.shape[:2], 2, device=turned.device)
        difference = (turned - matrices[:, None])[..., :2, :]
        return (difference @ self.fulcrum.to(difference)).float()


@dataclass(frozen=True)
class LocalPoseEstimates(PerImage):
    """What a search of the neighbourhoods found of each image.

    Attributes
    ----------
    matrices : tensor (images, 3, 3)
        Best orientation, volume to image frame.
    origins : tensor (images, 2)
        Best shift beside the present one, pixels.
    log_evidence : tensor (images,)
    probability : tensor (images,)
        Posterior of the best place.
    map_probability : tensor (images, maps)
    product, power : tensors (images,)
        Expected product of image and map's image, and power of the map's image, each over the
        noise's: their ratio is the scale of the image.
    """

    matrices: Float[Tensor, "n 3 3"]
    origins: Float[Tensor, "n 2"]
    log_evidence: Float[Tensor, " n"]
    probability: Float[Tensor, " n"]
    map_probability: Float[Tensor, "n k"]
    product: Float[Tensor, " n"]
    power: Float[Tensor, " n"]

    def moved(self, origins: Float[Tensor, "n 2"]) -> LocalPoseEstimates:
        """The same with these added to the shifts."""
        return replace(self, origins=self.origins + origins)


@dataclass(frozen=True)
class SliceSums:
    """What some images add to the M-step, slice by slice.

    Attributes
    ----------
    matrices : tensor (slices, 3, 3)
        Volume to image frame.
    data : complex tensor (maps, slices, samples)
        Sum over shifts of posterior * CTF * image * precision.
    weight : tensor (maps, slices, samples)
        Posterior * CTF^2 * precision.
    residual : tensor (samples,)
        Expected squared residual, summed over the images.
    """

    matrices: Float[Tensor, "s 3 3"]
    data: Complex[Tensor, "k s m"]
    weight: Float[Tensor, "k s m"]
    residual: Float[Tensor, " m"]


def ball_lattice(reach: float) -> Float[Tensor, "j 3"]:
    """Points of the body-centred cubic lattice of nearest distance 1, no farther than ``reach``.

    The nearest come first.  A point stands for a volume of 4 / sqrt(27).
    """
    count = math.ceil(reach * math.sqrt(3))
    whole = itertools.product(range(-count, count + 1), repeat=3)
    same_parity = [point for point in whole if len({number % 2 for number in point}) == 1]
    points = torch.tensor(same_parity, dtype=torch.float64) / math.sqrt(3)
    distance = points.norm(dim=1)
    order = distance.argsort(stable=True)
    return points[order][distance[order] <= reach + 1e-9]


def neighbourhood(
    step: float,
    reach: float,
    shifts: Float[Tensor, "t 2"],
    operators: Float[Tensor, "s 3 3"],
    shift_cells: float,
) -> Neighbourhood:
    """Turns within ``reach`` steps of ``step`` degrees, and some shifts.

    Parameters
    ----------
    operators : tensor (operators, 3, 3)
        Point group: the orientations that differ are so many times fewer.
    shift_cells : float
        How many of the shifts' cells fill all the shifts that the particle could have.
    """
    radians = math.radians(step)
    turns = Rotation.from_rotvec((ball_lattice(reach) * radians).numpy()).as_matrix()
    # Haar measure near the identity: d(rotation vector) / (8 pi^2).
    cell = 4 / math.sqrt(27) * radians**3 / (8 * math.pi**2)
    log_cell = math.log(cell * len(operators) / shift_cells)
    return Neighbourhood(torch.from_numpy(turns), shifts, log_cell, operators)


@dataclass(frozen=True)
class LocalTrial:
    """What images of one optics group are compared with.

    Attributes
    ----------
    cube : FourierCube
        Of all maps.
    points : tensor (samples, 2)
        Frequencies of the half-plane, in steps of 1 / box.
    precision : tensor (samples,)
        Area of the whole Fourier plane that a sample stands for, over the noise's expected power.
    around : Neighbourhood
    box : int
    log_prior : tensor (maps,)
    accumulate : bool
        Whether to make the sums of the M-step.
    """

    cube: FourierCube
    points: Float[Tensor, "m 2"]
    precision: Float[Tensor, " m"]
    around: Neighbourhood
    box: int
    log_prior: Float[Tensor, " k"]
    accumulate: bool = True


def local_expectation(
    trial: LocalTrial,
    images: Complex[Tensor, "n m"],
    ctf: Float[Tensor, "n m"],
    matrices: Float[Tensor, "n 3 3"],
    place_prior: PlacePrior | None = None,
) -> tuple[LocalPoseEstimates, SliceSums | None]:
    """Posterior of a few images over the neighbourhoods of their places.

    Parameters
    ----------
    trial : LocalTrial
    images : complex tensor (images, samples)
        Already moved to their present origins.
    ctf : tensor (images, samples)
    matrices : tensor (images, 3, 3)
        Present orientations, float64.
    place_prior : PlacePrior, optional
        Of these images.

    Notes
    -----
    The formula is that of :func:`vitreous.engine.searches.score.reference_log_likelihood`.
    """
    around, points, box = trial.around, trial.points, trial.box
    turned = around.turned(matrices)
    slices = read_planes(trial.cube, points, turned.flatten(0, 1))
    slices = slices.view(len(slices), *turned.shape[:2], -1)
    carried = around.carried(turned, matrices)
    if around.fulcrum is not None:
        back = shift_phase(points, -carried.flatten(0, 1), box).view(*turned.shape[:2], -1)
        slices = slices * back
    parts = torch.view_as_real(slices).flatten(3)
    phases = shift_phase(points, around.shifts, box)
    twice = trial.precision.repeat_interleave(2)
    weighed = torch.view_as_real((images * ctf)[:, None] * phases).flatten(2) * twice
    contrast = (ctf**2).repeat_interleave(2, dim=1) * twice
    cross = parts @ weighed.transpose(1, 2)
    squared = parts.square()
    norm = squared @ contrast[:, :, None]
    score = cross - norm / 2 + trial.log_prior[:, None, None, None]
    if place_prior is not None:
        score = score + place_prior.log(turned, around.shifts)
    by_image = score.transpose(0, 1).flatten(1)
    evidence = by_image.logsumexp(dim=1)
    posterior = (score - evidence[:, None, None]).exp()
    best = _best(posterior, (cross, norm), by_image, turned, carried, around)
    if not trial.accumulate:
        return best, None
    orientation_posterior = posterior.sum(dim=3)
    kept = (orientation_posterior > _NEGLIGIBLE).any(dim=0)
    expected = (orientation_posterior[:, :, None] @ squared)[:, :, 0] * contrast
    product = (posterior.transpose(2, 3) @ parts) * weighed
    fit = (expected.sum(dim=(0, 1)) - 2 * product.sum(dim=(0, 1, 2))) / twice
    residual = images.abs().square().sum(dim=0) + fit.view(-1, 2).sum(dim=1)
    weight = contrast[:, ::2][torch.nonzero(kept)[:, 0]] * orientation_posterior[:, kept][..., None]
    data = (posterior @ weighed)[:, kept]
    data = torch.view_as_complex(data.unflatten(2, (-1, 2)))
    if around.fulcrum is not None:
        data = data * back[kept].conj()
    return best, SliceSums(turned[kept], data, weight, residual)


def _best(
    posterior: Float[Tensor, "k n j t"],
    terms: tuple[Float[Tensor, "k n j t"], Float[Tensor, "k n j 1"]],
    by_image: Float[Tensor, "n places"],
    turned: Float[Tensor, "n j 3 3"],
    carried: Float[Tensor, "n j 2"],
    around: Neighbourhood,
) -> LocalPoseEstimates:
    top, evidence = by_image.argmax(dim=1), by_image.logsumexp(dim=1)
    here, shifts = torch.arange(len(top), device=top.device), len(around.shifts)
    turn = torch.div(top, shifts, rounding_mode="floor") % turned.shape[1]
    product, power = ((posterior * term).sum(dim=(0, 2, 3)) for term in terms)
    return LocalPoseEstimates(
        turned[here, turn],
        around.shifts[top % shifts] + carried[here, turn],
        evidence + around.log_cell,
        (by_image[here, top] - evidence).exp(),
        posterior.sum(dim=(2, 3)).T,
        product,
        power,
    )


def no_local_estimates(count: int, maps: int) -> LocalPoseEstimates:
    """Room on the host for what is found of some images."""
    evidence, probability, product, power = torch.zeros(4, count)
    return LocalPoseEstimates(
        torch.zeros(count, 3, 3, dtype=torch.float64),
        torch.zeros(count, 2),
        evidence,
        probability,
        torch.zeros(count, maps),
        product,
        power,
    )
