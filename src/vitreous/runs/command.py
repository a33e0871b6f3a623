"""The shell command that runs a job with given options."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import MISSING, asdict, fields
from typing import TYPE_CHECKING, Any

from vitreous.runs.options import flag

if TYPE_CHECKING:
    from pathlib import Path

    from _typeshed import DataclassInstance

_OF_ONE_RUN = ("overwrite", "resume")
"""Options that are no part of what a job computes."""


def _words(value: Any) -> list[str]:
    """Words of the command line for a value that is no yes or no."""
    if isinstance(value, list | tuple):
        return [word for item in value for word in _words(item)]
    short = f"{value:g}" if isinstance(value, float) else str(value)
    return [short if not isinstance(value, float) or float(short) == value else repr(value)]


def shell_command(
    job: str, options: Mapping[str, Any], kind: type[DataclassInstance] | None = None
) -> str:
    """The command line of a job, with the options that differ from their defaults.

    Parameters
    ----------
    job : str
        Name of the command.
    options : mapping
        Values by the names of the configuration's fields, as in ``result.json``.
    kind : type, optional
        The configuration class, which tells the defaults and what comes without an option's name;
        without it all options are named.
    """
    words, named = ["vitreous", job], []
    known = {} if kind is None else {one.name: one for one in fields(kind)}
    for name in [*known, *(name for name in options if name not in known)]:
        value, one = options.get(name), known.get(name)
        default = MISSING if one is None else one.default
        if value is None or name in _OF_ONE_RUN or (default is not MISSING and value == default):
            continue
        if one is not None and not one.kw_only:
            words += _words(value)
        elif isinstance(value, bool):
            named.append(flag(name) if value else flag(f"no_{name}"))
        else:
            named += [flag(name), *_words(value)]
    return shlex.join([*words, *named])


def command_of(job: str, config: DataclassInstance, **changes: Any) -> str:
    """The command line that repeats a job with some options changed."""
    return shell_command(job, asdict(config) | changes, type(config))


def beside(out: Path, ending: str) -> Path:
    """A folder next to a job's own that does not exist yet, such as ``job_O`` beside ``job``."""
    found, number = out.with_name(f"{out.name}_{ending}"), 2
    while found.exists():
        found, number = out.with_name(f"{out.name}_{ending}_{number}"), number + 1
    return found
