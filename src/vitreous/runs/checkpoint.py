"""Checkpoint files: tensors and plain numbers, bound to the options and the input of their job."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from vitreous import __version__
from vitreous.errors import InputError, OutputError
from vitreous.io.atomic import atomic_path, move
from vitreous.runs.folder import OnEvent, ignore
from vitreous.runs.replacement import PREVIOUS

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T")

FORMAT = 3
"""Number of the files' layout: raise it whenever a job keeps other tensors or numbers."""

_RUN_ONLY = ("out", "overwrite", "resume", "write_every", "memory", "scratch", "ranks")

_BEGIN_ANEW = "begin anew with --overwrite"


def _is_file(value: Any) -> bool:
    return isinstance(value, Path) or (isinstance(value, tuple) and any(map(_is_file, value)))


def fingerprint(config: DataclassInstance, free: Collection[str] = ()) -> str:
    """Hash of all options that change the result; those that are ``free`` may differ.

    Files count by their content, see :mod:`vitreous.runs.contents`, and may have moved.
    """
    left_out = {*_RUN_ONLY, *free}
    options = {
        name: str(value)
        for name, value in asdict(config).items()
        if name not in left_out and not _is_file(value)
    }
    return hashlib.sha256(json.dumps(options, sort_keys=True).encode()).hexdigest()


def _checksum(tensors: Mapping[str, Tensor], text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.numpy().reshape(-1).view("u1").data)
    return digest.hexdigest()


def _apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors on the host, none of them in the memory of another."""
    held, places = dict[str, Tensor](), set[int]()
    for name, tensor in tensors.items():
        own = tensor.detach().cpu().contiguous()
        place = own.untyped_storage().data_ptr()
        held[name] = own.clone() if place in places else own
        places.add(place)
    return held


class _DamagedError(Exception):
    """A file that is missing or does not hold what was written into it."""


def _read_file(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors of a file and what is said of them; none of it is trusted before its checksum."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        said: dict[str, Any] = json.loads(metadata["vitreous"])
    except (SafetensorError, ValueError, KeyError, TypeError, OSError) as error:
        raise _DamagedError(f"it cannot be read ({error})") from error
    if said.get("format") != FORMAT:
        raise InputError(
            f"the checkpoint was written by another version of this program "
            f"({said.get('version', 'an early one')}; this is {__version__})",
            where=path,
            hint=f"finish the job with that version, or {_BEGIN_ANEW}",
        )
    if metadata.get("sha256") != _checksum(tensors, metadata["vitreous"]):
        raise _DamagedError("its checksum is wrong")
    bad = [name for name, t in tensors.items() if t.is_floating_point() and t.isnan().any()]
    if bad:
        raise _DamagedError(f"it holds NaN in {bad[0]}")
    return tensors, said


@dataclass(frozen=True)
class Checkpoint:
    """File that a job keeps itself in, to go on from if it is interrupted.

    The file before it is kept, too, and serves where the last one is damaged.

    Attributes
    ----------
    path : Path
    config : dataclass
        Options that the job is made with; a file made with others is refused.
    resume : bool
        Go on from the file.
    free : collection of str
        Options that may differ when a job is resumed.
    inputs : str
        Digest of what the job reads; a file made from other input is refused.
    tell : callable
        Is told if the file before the last one had to serve.
    """

    path: Path
    config: DataclassInstance
    resume: bool = False
    free: Collection[str] = ()
    inputs: str = ""
    tell: OnEvent = ignore

    @property
    def previous(self) -> Path:
        """The checkpoint before the last."""
        return self.path.with_name(PREVIOUS)

    def write(self, tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> None:
        """Add a file with tensors and a record of plain numbers; the last but one goes.

        Raises
        ------
        OutputError
            If it cannot be written; the last file is then still there, under either name.
        """
        held = _apart(tensors)
        said = {
            "format": FORMAT,
            "version": __version__,
            "options": fingerprint(self.config, self.free),
            "inputs": self.inputs,
            "record": record,
        }
        text = json.dumps(said)
        with atomic_path(self.path) as temporary:
            try:
                metadata = {"vitreous": text, "sha256": _checksum(held, text)}
                save_file(held, temporary, metadata=metadata)
            except SafetensorError as error:
                raise OutputError(
                    f"cannot be written: {error}", where=self.path, hint="make space on the disk"
                ) from error
            if self.path.is_file():
                move(self.path, self.previous)

    def _require_own(self, said: Mapping[str, Any], path: Path) -> None:
        """Refuse a file of a job with other options or other input."""
        if said["options"] != fingerprint(self.config, self.free):
            raise InputError(
                "the checkpoint was made with other options",
                where=path,
                hint=f"resume with the options of the first run, or {_BEGIN_ANEW}",
            )
        if said["inputs"] != self.inputs:
            raise InputError(
                "the checkpoint was made from other input: a table, images, a map or a mask have "
                "changed since",
                where=path,
                hint=f"put the former files back, or {_BEGIN_ANEW}",
            )

    def read(self, build: Callable[[dict[str, Tensor], dict[str, Any]], T]) -> T:
        """What ``build`` makes of the tensors and the record of the last file that is sound.

        Raises
        ------
        InputError
            If there is none, all are damaged, or they are from other options, other input or
            another version of the program.
        """
        damage = []
        for path in (self.path, self.previous):
            try:
                tensors, said = _read_file(path)
            except _DamagedError as error:
                damage.append(f"{path.name}: {error}")
                continue
            self._require_own(said, path)
            if damage:
                text = (
                    f"Goes on from {path.name}, as the last checkpoint is of no use: {damage[0]}."
                )
                self.tell({"event": "note", "text": text})
            try:
                return build(tensors, said["record"])
            except (KeyError, TypeError, AttributeError) as error:
                raise InputError(
                    f"the checkpoint lacks what this version of the program needs: {error}",
                    where=path,
                    hint=_BEGIN_ANEW,
                ) from error
        raise InputError(
            f"no checkpoint can be read ({'; '.join(damage)})", where=self.path, hint=_BEGIN_ANEW
        )
