"""How strong the signal is in the particles, and how strong the noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vitreous.errors import InputError
from vitreous.jobs.ctf.comparison import Band, Compared, RunContext, batches, compare

_SAMPLE = 1000
"""Particles of an optics group that signal and noise are measured on."""

_SEEN = 5.0
"""Standard errors of the sample's correlation with the map, below which nothing can be fitted."""


@dataclass(frozen=True)
class Scale:
    """What the reference has to be multiplied by, and the noise, at every pixel of a band.

    Attributes
    ----------
    signal : tensor (pixels,)
        Least-squares factor of the shell: the reference's scale, and less where it is noisy.
    noise : tensor (pixels,)
        Standard deviation of the residuals in the shell.
    """

    signal: Float[Tensor, " p"]
    noise: Float[Tensor, " p"]

    def whitened(self, found: Compared) -> Compared:
        """Observed and predicted in units of the noise."""
        factor = self.signal / self.noise
        return Compared(
            found.observed / self.noise,
            found.predicted * factor,
            found.derivative * factor[:, None],
            found.phase,
        )


def _require_likeness(context: RunContext, rows: np.ndarray, score: float) -> None:
    if score < _SEEN:
        group = context.table.optics[context.table.group[rows[0]]]
        raise InputError(
            f"the particles of optics group {group.number} are not like the map's projections: "
            f"they correlate at {score:.1f} standard errors, expected {_SEEN:g} or more",
            where=context.table.path,
            hint="check that map and particles are of one refinement, of one hand and contrast",
        )


def measured_scale(context: RunContext, band: Band, rows: np.ndarray) -> Scale:
    """Signal and noise of an optics group, on a sample of its particles.

    Raises
    ------
    InputError
        If the particles do not look like the map.
    """
    draw = np.random.default_rng(context.seed).permutation(rows)[:_SAMPLE]
    shell = band.radius.round().long()
    count = int(shell.max()) + 1
    cross, model, power = torch.zeros(3, count, dtype=torch.float64, device=shell.device)
    for batch in batches(np.sort(draw), band):
        found = compare(context, band, batch)
        predicted = found.predicted * torch.sin(found.phase)
        for total, values in (
            (cross, (found.observed * predicted.conj()).real),
            (model, predicted.abs() ** 2),
            (power, found.observed.abs() ** 2),
        ):
            total.index_add_(0, shell, values.sum(0).double())
    members = (torch.bincount(shell, minlength=count) * len(draw)).clamp(min=1)
    signal = (cross / model.clamp(min=1e-30)).clamp(min=0)
    variance = ((power - signal**2 * model) / members).clamp(min=1e-30)
    score = (cross / variance).sum() / (model / variance / 2).sum().clamp(min=1e-30).sqrt()
    _require_likeness(context, rows, float(score))
    return Scale(signal[shell].float(), variance.sqrt()[shell].float())
