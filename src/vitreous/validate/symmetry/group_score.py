"""How well a map fits one point group, and where."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vitreous.math.rotations import matrix_to_euler
from vitreous.math.symmetry import point_group, rotation_axes
from vitreous.validate.symmetry.axis_search import placements, refined
from vitreous.validate.symmetry.self_correlation import Placement, products
from vitreous.validate.symmetry.symmetry_trial import Trial

HOLDS = 0.7
"""Least score, over what the noise allows, of a symmetry that holds."""

FEATURELESS = 0.005
"""Share of a map's power below which what is left to compare is the grid's doing."""

_LEAST_ALLOWED = 0.1
"""What noise must allow at the least for a score to be measured by it."""

_HOPEFUL = 0.25
"""Mean correlation on the grid, over what noise allows, from which a group's axes are refined."""

_CANDIDATES, _NEAR = 3, 0.8
"""Places on the grid that are refined, if they reach this share of the best one's correlation."""

_SURE = 0.9
"""Correlation, over what noise allows, at which no other place can be much better."""

_LEAST_SHARE = 1e-3
"""Least share of the power that differs from its mean over the group, so that its logarithm stays
finite in a map without noise."""

_ACROSS = 0.1
"""Cosine to an axis of those that count as across it."""


@dataclass(frozen=True)
class GroupScore:
    """How well a map fits one point group, laid where it fits best.

    Attributes
    ----------
    group : str
    score : float
        Correlation of the map with itself turned, the lowest of the group's rotations.
    allowed : float
        What a true symmetry would reach under the map's noise.
    low, low_resolution : float
        The best ratio of the two that low-passing the map would give, and to how many angstrom.
    detail : float
        Share of the map's power that the score rests on.
    evidence : float
        Log-likelihood ratio of this symmetry against none, from the shells that show more than a
        shape; of groups that contain one another the true one has the most.
    held_to : float or None
        Angstrom of the last shell to reach half of what noise allows; None if none does.
    matrix : float64 array (3, 3)
        Carries points (x, y, z) of the map to the group's standard setting.
    shift : float64 array (3,)
        Then added, pixels.
    """

    group: str
    score: float
    allowed: float
    low: float
    low_resolution: float
    detail: float
    evidence: float
    held_to: float | None
    matrix: Float[np.ndarray, "3 3"]
    shift: Float[np.ndarray, " 3"]

    @property
    def relative(self) -> float:
        """Score over what noise allows; 0 where it allows next to nothing."""
        return self.score / self.allowed if self.allowed >= _LEAST_ALLOWED else 0.0

    @property
    def holds(self) -> bool:
        """Whether the map has this symmetry as far as its noise lets one tell."""
        return self.relative >= HOLDS and self.detail >= FEATURELESS

    @property
    def axis(self) -> tuple[float, float, float]:
        """Direction (x, y, z) in the map of the axis of highest fold."""
        x, y, z = (rotation_axes(point_group(self.group))[0][0].numpy() @ self.matrix).tolist()
        return x, y, z

    @property
    def euler(self) -> tuple[float, float, float]:
        """Rot, tilt, psi of ``matrix``, degrees."""
        rot, tilt, psi = matrix_to_euler(torch.from_numpy(self.matrix)).tolist()
        return rot, tilt, psi


def _placed(trial: Trial, group: str) -> Placement:
    """Where the group fits best: on the grid, then refined if there is any hope."""
    found = placements(trial.table, group, _CANDIDATES)
    if found[0][0] < _HOPEFUL * trial.allowed:
        return found[0][1]
    weights, best = trial.weights[: trial.coarse.radius], (-1.0, found[0][1])
    for score, start in found:
        if score < _NEAR * found[0][0] or best[0] > _SURE * trial.allowed:
            break
        best = max(best, refined(trial.coarse, weights, group, start), key=lambda item: item[0])
    if trial.fine.radius > trial.coarse.radius:
        best = refined(trial.fine, trial.weights, group, best[1])
    return best[1]


def _held_to(
    curve: Float[Tensor, " k"], allowed: Float[Tensor, " k"], say: Float[Tensor, " k"]
) -> int | None:
    """Last shell to reach half of what the noise allows, counted from the one of most say on."""
    holds = (curve >= allowed / 2) & (say > 0)
    first = int(torch.where(holds, say, 0.0).argmax())
    if not holds[first]:
        return None
    return first + int(holds[first:].long().cumprod(0).sum())


def _readings(trial: Trial, group: str, place: Placement) -> list[tuple[str, Placement]]:
    """Every way in which a group may be no more than a body of revolution.

    A two-fold turn about an axis across it leaves a body of revolution as it is.  So a C2 is also
    read as the flips of a D1 about the most rotational axis across its own, and of the axes of a
    D2 each is made the main one in turn: none may owe its score to the rotational average.
    """
    frame = place.frame
    if group == "D2":
        return [(group, replace(place, frame=frame.roll(turn, dims=1))) for turn in range(3)]
    if group != "C2":
        return [(group, place)]
    x = frame[:, 2]
    axes, table = trial.table.frames[:, :, 2], trial.table
    across = (axes @ x).abs() < _ACROSS
    z = axes[torch.where(across, table.power[:, 0] / table.power.sum(1), -1.0).argmax()]
    z = torch.nn.functional.normalize(z - (z @ x) * x, dim=0)
    flips = torch.stack([x, torch.linalg.cross(z, x), z], dim=1)
    return [(group, place), ("D1", replace(place, frame=flips))]


def _evidence(
    curve: Float[Tensor, " k"], order: int, values: Float[Tensor, " k"]
) -> Float[Tensor, " k"]:
    """Log-likelihood ratio, shell by shell, of a symmetry against none.

    What a group of so many operators leaves as it is holds 1 / order of a shell's independent
    values, and of the power (1 + (order - 1) c) / order, where c is the mean correlation.  Both it
    and the rest are taken for Gaussian: under the group with a variance each, without it with one
    for both.  Where the group's part holds less than its due, the ratio counts against it.

    Parameters
    ----------
    curve : tensor (shells,)
        Mean correlation over the operators but the identity.
    order : int
    values : tensor (shells,)
        Independent values on each shell.
    """
    due = 1 / order
    share = ((1 + (order - 1) * curve) / order).clamp(_LEAST_SHARE, 1 - _LEAST_SHARE)
    ratio = due * (due / share).log() + (1 - due) * ((1 - due) / (1 - share)).log()
    return values / 2 * torch.where(share > due, ratio, -ratio)


def _scored(trial: Trial, group: str, reading: tuple[str, Placement], at: Placement) -> GroupScore:
    """Score of one reading of a group that is laid ``at``."""
    crossed, power = products(trial.fine, *reading)
    share = torch.ones(len(trial.weights))
    if trial.noise_reference is not None:
        share = trial.noise_reference.signal_share(*reading)
    # Sums up to each shell: what the map low-passed there would score.
    crossed_to, power_to = ((part * trial.weights).cumsum(1) for part in (crossed, power))
    each = crossed_to / power_to.clamp(min=1e-30)
    mean = power.mean(0) * trial.weights
    allowed = (share * mean).cumsum(0) / mean.cumsum(0).clamp(min=1e-30)
    relative = torch.where(allowed >= _LEAST_ALLOWED, each.amin(0) / allowed, 0.0)
    relative = relative[trial.first - 1 :]
    best, worst, last = int(relative.argmax()), int(each[:, -1].argmin()), trial.finest
    curve = (crossed[worst] / power[worst].clamp(min=1e-30))[:last]
    held = _held_to(curve, share[:last], trial.say[:last])
    mean_curve = crossed.sum(0) / power.sum(0).clamp(min=1e-30)
    evidence = _evidence(mean_curve, len(crossed) + 1, trial.values) * (trial.weights > 0)
    matrix = at.frame.T
    return GroupScore(
        group,
        float(each[worst, -1]),
        float(allowed[-1]),
        float(relative[best]),
        trial.width / (trial.first + best),
        float(mean.sum() / trial.power),
        float(evidence[trial.first - 1 :].sum()),
        None if held is None else trial.width / held,
        matrix.numpy(),
        -(matrix @ at.centre).numpy(),
    )


def judged(trial: Trial, group: str) -> GroupScore:
    """Test one point group."""
    place = _placed(trial, group)
    scores = [_scored(trial, group, reading, place) for reading in _readings(trial, group, place)]
    return min(scores, key=lambda score: score.relative)
