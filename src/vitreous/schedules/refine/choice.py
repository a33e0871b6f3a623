"""Which start a refinement goes on from: the one whose maps fit the images best."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor

SURE = 3.0
"""Standard errors from which one fit is better than another."""


@dataclass(frozen=True)
class Start:
    """Where a search starts.

    Attributes
    ----------
    lowpass : float
        Resolution in angstrom that the first maps are cut at.
    posed : bool
        From the particles' own poses, not from the reference.
    """

    lowpass: float
    posed: bool = False

    def __str__(self) -> str:
        """Return it as messages have it."""
        if self.posed:
            return "round the particles' own poses"
        return f"everywhere from the reference cut at {self.lowpass:g} A"


@dataclass(frozen=True)
class Choice:
    """What the trials of a job said.

    Attributes
    ----------
    starts : tuple of Start
        In the order that they were tried in.
    resolutions : tuple of float
        Angstrom to which the halves of each trial agreed.
    fits : tensor (starts, sample)
        Log-evidence of each image of the sample, given the map of the other half.
    chosen : int
        Which of the starts the search goes on from.
    """

    starts: tuple[Start, ...]
    resolutions: tuple[float, ...]
    fits: Float[Tensor, "k n"]
    chosen: int

    @property
    def start(self) -> Start:
        """Where the search goes on from."""
        return self.starts[self.chosen]

    @property
    def sentence(self) -> str:
        """What was tried, and where the search went on from."""
        means = self.fits.mean(dim=1).tolist()
        tried = f"A sample of {self.fits.shape[1]} images was searched"
        if len(self.starts) == 1:
            return f"{tried} {self.start} (log-evidence {means[0]:.1f} an image)."
        others = ", ".join(
            f"{start} {means[n]:.1f}" for n, start in enumerate(self.starts) if n != self.chosen
        )
        return (
            f"{tried} from {len(self.starts)} starts. All particles went on from the search "
            f"{self.start} (log-evidence {means[self.chosen]:.1f} an image; {others})."
        )

    def scalars(self) -> dict[str, Any]:
        """All but the fits, for a checkpoint."""
        starts = [[start.lowpass, start.posed] for start in self.starts]
        return {"starts": starts, "resolutions": self.resolutions, "chosen": self.chosen}

    @classmethod
    def of(cls, scalars: Mapping[str, Any], fits: Float[Tensor, "k n"]) -> Choice:
        """What :meth:`scalars` was made from."""
        starts = tuple(Start(*start) for start in scalars["starts"])
        return cls(starts, tuple(scalars["resolutions"]), fits, scalars["chosen"])

    def record(self) -> dict[str, Any]:
        """For result.json and the log."""
        best = self.fits[self.chosen]
        tried = [
            {
                "start": str(start),
                "lowpass": start.lowpass,
                "own_poses": start.posed,
                "resolution": round(resolution, 2),
                "log_evidence": float(fit.mean()),
                "less_than_chosen": surplus(best, fit)[0],
                "standard_error": surplus(best, fit)[1],
                "chosen": number == self.chosen,
            }
            for number, (start, resolution, fit) in enumerate(
                zip(self.starts, self.resolutions, self.fits, strict=True)
            )
        ]
        return {"sample": self.fits.shape[1], "tried": tried, "sentence": self.sentence}


def surplus(fit: Float[Tensor, " n"], other: Float[Tensor, " n"]) -> tuple[float, float]:
    """By how much one fit of the same images is better than another: mean and standard error."""
    difference = (fit - other).double()
    error = float(difference.std()) / len(difference) ** 0.5 if len(difference) > 1 else 0.0
    return float(difference.mean()), error


def is_better(fit: Float[Tensor, " n"], other: Float[Tensor, " n"]) -> bool:
    """Whether one fit of the same images is surely better than another."""
    mean, error = surplus(fit, other)
    return mean > SURE * error


def first_of_the_best(fits: Float[Tensor, "k n"]) -> int:
    """The first fit that no other is surely better than."""
    for number, fit in enumerate(fits):
        if not any(is_better(other, fit) for other in fits):
            return number
    return int(fits.mean(dim=1).argmax())
