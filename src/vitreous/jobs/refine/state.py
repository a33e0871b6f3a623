"""Checkpoints of a refinement: what it needs to go on to the same bits."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from vitreous.errors import InputError
from vitreous.io.atomic import atomic_path
from vitreous.jobs.config_refine import RefineConfig
from vitreous.jobs.refine.local_pass import Posed

_RUN_ONLY = ("out", "overwrite", "resume", "iterations")


@dataclass(frozen=True)
class RefineState:
    """Where a refinement stands.

    Attributes
    ----------
    iteration : int
        Passes done over all particles.
    stage : str
        everywhere, nearby or done.
    step : float
        Angular step in degrees of the next pass round the particles' places.
    shift_step : float
        Step of its shifts, angstrom.
    shell : int
        Last shell of the resolution.
    evidence : float
        Mean log-evidence of an image in the last pass.
    references : tensor (2, n, n, n)
        Of the halves, in a box of the particles' field.
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

    def posed(self, pixel_size: float) -> Posed:
        """Places of all particles, in pixels of that size."""
        return Posed(self.matrices, self.origins / pixel_size)


def fingerprint(config: RefineConfig) -> str:
    """Hash of all options that change the result."""
    options = {k: str(v) for k, v in asdict(config).items() if k not in _RUN_ONLY}
    return hashlib.sha256(json.dumps(options, sort_keys=True).encode()).hexdigest()


def save_state(path: Path, state: RefineState, config: RefineConfig) -> None:
    """Write a checkpoint."""
    values = {field.name: getattr(state, field.name) for field in fields(state)}
    tensors = {n: v.cpu().contiguous() for n, v in values.items() if isinstance(v, Tensor)}
    scalars = {n: v for n, v in values.items() if n not in tensors}
    record = json.dumps({"fingerprint": fingerprint(config), **scalars})
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata={"vitreous": record})


def load_state(path: Path, config: RefineConfig, device: torch.device) -> RefineState:
    """Read it back.

    Raises
    ------
    InputError
        If there is none, it is damaged, or it was made with other options.
    """
    anew = "start with --overwrite"
    if not path.is_file():
        raise InputError("there is no checkpoint to resume from", where=path, mend=anew)
    try:
        tensors: dict[str, Any] = load_file(path, device=str(device))
        with safe_open(path, "pt") as file:
            scalars = json.loads(file.metadata()["vitreous"])
    except (SafetensorError, ValueError, KeyError, TypeError, OSError) as error:
        raise InputError(
            f"the checkpoint cannot be read: {error}", where=path, mend=anew
        ) from error
    if scalars.pop("fingerprint") != fingerprint(config):
        raise InputError(
            "the checkpoint was made with other options",
            where=path,
            mend=f"resume with the options of the first run, or {anew}",
        )
    return RefineState(**tensors, **scalars)
