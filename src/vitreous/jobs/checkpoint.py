"""Checkpoint files: tensors and plain numbers, bound to the options they were made with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from vitreous.errors import InputError
from vitreous.io.atomic import atomic_path

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_RUN_ONLY = ("out", "overwrite", "resume", "write_every")


def fingerprint(config: DataclassInstance, free: Collection[str] = ()) -> str:
    """Hash of all options that change the result; those that are ``free`` may differ."""
    left_out = {*_RUN_ONLY, *free}
    options = {k: str(v) for k, v in asdict(config).items() if k not in left_out}
    return hashlib.sha256(json.dumps(options, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Checkpoint:
    """File that a job keeps itself in, to go on from if it is interrupted.

    Attributes
    ----------
    path : Path
    config : dataclass
        Options that the job is made with; a file made with others is refused.
    resume : bool
        Go on from the file.
    free : collection of str
        Options that may differ when a job is resumed.
    """

    path: Path
    config: DataclassInstance
    resume: bool = False
    free: Collection[str] = ()

    def write(self, tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> None:
        """Replace the file: tensors, and a record of plain numbers."""
        held = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        text = json.dumps({"fingerprint": fingerprint(self.config, self.free), **record})
        with atomic_path(self.path) as temporary:
            save_file(held, temporary, metadata={"vitreous": text})

    def read(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and record of the file.

        Raises
        ------
        InputError
            If there is none, it is damaged, or it was made with other options.
        """
        if not self.path.is_file():
            raise InputError(
                "there is no checkpoint to resume from",
                where=self.path,
                mend="start with --overwrite",
            )
        try:
            tensors = load_file(self.path)
            with self.path.open("rb") as file:
                length = int.from_bytes(file.read(8), "little")
                header = json.loads(file.read(length))
            record = json.loads(header["__metadata__"]["vitreous"])
        except (SafetensorError, ValueError, KeyError, OSError) as error:
            raise InputError(
                f"the checkpoint cannot be read: {error}",
                where=self.path,
                mend="start with --overwrite",
            ) from error
        if record["fingerprint"] != fingerprint(self.config, self.free):
            raise InputError(
                "the checkpoint was made with other options",
                where=self.path,
                mend="resume with the options of the first run, or start with --overwrite",
            )
        return tensors, record
