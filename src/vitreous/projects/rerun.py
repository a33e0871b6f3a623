"""The command that runs a job again, with some options changed."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from vitreous.config.jobs import configurations
from vitreous.errors import InputError, OptionError
from vitreous.report.job_state import state_of
from vitreous.runs.command import beside, shell_command
from vitreous.runs.project import new_folder, project_of

_YES, _NO = ("true", "yes", "on"), ("false", "no", "off")


def _changes(given: Sequence[str], known: set[str], options: Mapping[str, Any]) -> dict[str, Any]:
    """Options to change, from words such as ``symmetry=C2``."""
    found: dict[str, Any] = {}
    for word in given:
        name, equals, value = word.partition("=")
        name = name.strip().lstrip("-").replace("-", "_")
        if not equals or name not in known:
            close = get_close_matches(name, known, 1)
            meant = f"; do you mean {close[0]}?" if close else ""
            raise OptionError(
                f"{word!r} is no option of this job with a value",
                where="--set",
                hint=f"write name=value, such as seed=1{meant}",
            )
        if isinstance(options.get(name), bool) and value.lower() in (*_YES, *_NO):
            found[name] = value.lower() in _YES
        else:
            found[name] = None if value.lower() == "none" else value
    return found


def _moved(value: Any, directory: Path) -> Any:
    """Paths as seen from here that were given in another directory; other words stay."""
    if isinstance(value, list | tuple):
        return [_moved(item, directory) for item in value]
    if not isinstance(value, str) or directory == Path.cwd():
        return value
    place = directory / value
    return str(place) if place.exists() else value


def rerun_words(job: Path, given: Sequence[str], out: Path | None) -> list[str]:
    """Words of the command, in a new folder.

    Parameters
    ----------
    job : Path
        Folder of the job.
    given : sequence of str
        Changes, such as ``symmetry=C2``.
    out : Path, optional
        By default the next numbered folder of the project, or one beside the job's.

    Raises
    ------
    InputError, OptionError
        If the folder does not tell what was run, or a change is of no option.
    """
    state = state_of(job)
    options, kind = state.result.get("options"), configurations().get(state.job)
    if not isinstance(options, dict) or kind is None:
        raise InputError(
            "does not tell which job was run with which options",
            where=job,
            hint="run the command that you want by itself",
        )
    known = {field.name for field in fields(kind)} - {"out", "overwrite", "resume"}
    directory = Path(str(state.result.get("directory") or Path.cwd()))
    merged = {name: _moved(options.get(name), directory) for name in known if name in options}
    merged |= _changes(given, known, options)
    if out is None:
        project = project_of(job)
        out = beside(job, "again") if project is None else new_folder(project, state.job)
    return shlex.split(shell_command(state.job, {**merged, "out": str(out)}, kind))[1:]
