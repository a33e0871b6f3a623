"""Checkpoints of a refinement: what it needs to go on to the same bits."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from vitreous.engine.halves import SearchedHalves
from vitreous.engine.images import Frame
from vitreous.engine.local_pass import PoseMatrices
from vitreous.runs.checkpoint import Checkpoint
from vitreous.schedules.refine.choice import Choice

FREE = ("iterations",)
"""Options that a resumed refinement may change."""


@dataclass(frozen=True)
class RefineState:
    """Where a refinement stands.

    Attributes
    ----------
    iteration : int
        Passes done.
    stage : str
        global, local or done.
    step : float
        Angular step in degrees of the next pass round the particles' places.
    shift_step : float
        Step of its shifts, angstrom.
    shell : int
        Last shell of the resolution.
    evidence : float
        Mean log-evidence of an image in the last pass.
    references : tensor (2, n, n, n)
        Of the halves, in a box of the particles' field; as the noise, on the device that searches.
    noise : tensor (2, groups, shells)
        As each half sees it.
    matrices : tensor (particles, 3, 3)
        Volume to image frame, float64.
    origins : tensor (particles, 2)
        Angstrom.
    probability, log_evidence : tensors (particles,)
        Posterior of the best place, and the image's fit.
    scale : tensor (particles,)
        Of the particles' contrast, 1 on the average.
    choice : Choice or None
        Which start was chosen; None for a local search that was asked for.
    angle_change, shift_change : list of float
        Degrees and angstrom by which half and nine tenths of the particles changed at most in the
        last pass; empty before the second.
    fsc : list of float
        Of the halves in the last pass, corrected, shell by shell.
    """

    iteration: int
    stage: str
    step: float
    shift_step: float
    shell: int
    evidence: float
    references: Float[Tensor, "2 n n n"]
    noise: Float[Tensor, "2 g s"]
    matrices: Float[Tensor, "n 3 3"]
    origins: Float[Tensor, "n 2"]
    probability: Float[Tensor, " n"]
    log_evidence: Float[Tensor, " n"]
    scale: Float[Tensor, " n"]
    choice: Choice | None = None
    angle_change: list[float] = field(default_factory=list)
    shift_change: list[float] = field(default_factory=list)
    fsc: list[float] = field(default_factory=list)

    def unsearched(self, frame: Frame) -> SearchedHalves:
        """What is known of the particles before a pass in a frame."""
        posed = PoseMatrices(self.matrices, self.origins / frame.pixel_size)
        return SearchedHalves(posed, self.probability, self.log_evidence, self.scale)


def save_state(checkpoint: Checkpoint, state: RefineState) -> None:
    """Write a checkpoint."""
    values = {one.name: getattr(state, one.name) for one in fields(state) if one.name != "choice"}
    tensors = {name: value for name, value in values.items() if isinstance(value, Tensor)}
    scalars = {name: value for name, value in values.items() if name not in tensors}
    if state.choice is not None:
        tensors["fits"] = state.choice.fits
        scalars["choice"] = state.choice.scalars()
    checkpoint.write(tensors, scalars)


def load_state(checkpoint: Checkpoint, device: torch.device) -> RefineState:
    """Read it back.

    Raises
    ------
    InputError
        As :meth:`vitreous.runs.checkpoint.Checkpoint.read`.
    """

    def build(tensors: dict[str, Tensor], scalars: dict[str, Any]) -> RefineState:
        moved = {name: tensors.pop(name).to(device) for name in ("references", "noise")}
        fits, chosen = tensors.pop("fits", None), scalars.pop("choice", None)
        choice = None if chosen is None or fits is None else Choice.of(chosen, fits)
        held: dict[str, Any] = {**tensors, **moved}
        return RefineState(**held, **scalars, choice=choice)

    return checkpoint.read(build)
