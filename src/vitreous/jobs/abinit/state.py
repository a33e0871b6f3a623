"""Checkpoints: what a search needs to go on to the same bits."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from vitreous.errors import InputError
from vitreous.io.atomic import atomic_path
from vitreous.jobs.config import AbinitConfig
from vitreous.reconstruct.insert import Accumulator

_RUN_ONLY = ("out", "overwrite", "resume", "write_every")


@dataclass(frozen=True)
class SearchState:
    """Where one start of a search stands.

    Attributes
    ----------
    start : int
        Number of the random start, from 0.
    iteration : int
        Iterations done.
    seen : int
        Particles seen, counted with repeats.
    rings : int
        Rings that the last iteration used.
    maps : tensor (maps, n, n, n)
        In the working box.
    noise : tensor (groups, rings)
    fractions : tensor (maps,)
    sums : Accumulator or None
        Running sums of the M-step.
    evidence : float
        Mean log-evidence of an image: of the last mini-batch, or of the held-out particles once
        starts have been compared.
    rounds : int
        Comparisons with the other starts that it came through; one with fewer than the others
        was stopped.
    """

    start: int
    iteration: int
    seen: int
    rings: int
    maps: Float[Tensor, "k n n n"]
    noise: Float[Tensor, "g rings"]
    fractions: Float[Tensor, " k"]
    sums: Accumulator | None
    evidence: float
    rounds: int = 0

    def to(self, device: torch.device) -> SearchState:
        """The same state on another device."""
        sums = self.sums
        if sums is not None:
            sums = Accumulator(sums.data.to(device), sums.weight.to(device), sums.padding)
        moved = {name: getattr(self, name).to(device) for name in ("maps", "noise", "fractions")}
        return replace(self, sums=sums, **moved)


def fingerprint(config: AbinitConfig) -> str:
    """Hash of all options that change the result."""
    options = {k: str(v) for k, v in asdict(config).items() if k not in _RUN_ONLY}
    return hashlib.sha256(json.dumps(options, sort_keys=True).encode()).hexdigest()


def _tensors(prefix: str, state: SearchState) -> dict[str, Tensor]:
    tensors = {"maps": state.maps, "noise": state.noise, "fractions": state.fractions}
    if state.sums is not None:
        tensors["data"] = torch.view_as_real(state.sums.data)
        tensors["weight"] = state.sums.weight
    return {f"{prefix}.{name}": t.detach().cpu().contiguous() for name, t in tensors.items()}


def _scalars(state: SearchState) -> dict[str, Any]:
    names = ("start", "iteration", "seen", "rings", "evidence", "rounds")
    return {name: getattr(state, name) for name in names}


def save_checkpoint(path: Path, states: list[SearchState], config: AbinitConfig) -> None:
    """Write the states of all starts begun so far."""
    tensors: dict[str, Tensor] = {}
    for number, state in enumerate(states):
        tensors |= _tensors(str(number), state)
    record = {
        "fingerprint": fingerprint(config),
        "padding": next((s.sums.padding for s in states if s.sums is not None), 0),
        "states": [_scalars(state) for state in states],
    }
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata={"vitreous": json.dumps(record)})


def load_checkpoint(path: Path, config: AbinitConfig) -> list[SearchState]:
    """Read the states back.

    Raises
    ------
    InputError
        If there is none, it is damaged, or it was made with other options.
    """
    if not path.is_file():
        raise InputError(
            "there is no checkpoint to resume from", where=path, mend="start with --overwrite"
        )
    try:
        tensors = load_file(path)
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length))
        record = json.loads(header["__metadata__"]["vitreous"])
    except (SafetensorError, ValueError, KeyError, OSError) as error:
        raise InputError(
            f"the checkpoint cannot be read: {error}", where=path, mend="start with --overwrite"
        ) from error
    if record["fingerprint"] != fingerprint(config):
        raise InputError(
            "the checkpoint was made with other options",
            where=path,
            mend="resume with the options of the first run, or start with --overwrite",
        )
    states = []
    for number, scalars in enumerate(record["states"]):
        part = {k.split(".")[1]: t for k, t in tensors.items() if k.startswith(f"{number}.")}
        sums = None
        if "data" in part:
            data = torch.view_as_complex(part["data"])
            sums = Accumulator(data, part["weight"], record["padding"])
        states.append(
            SearchState(
                maps=part["maps"],
                noise=part["noise"],
                fractions=part["fractions"],
                sums=sums,
                **scalars,
            )
        )
    return states
