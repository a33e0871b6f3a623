"""Options of single steps, given as ``pick.fdr=0.05``: checked before anything runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from difflib import get_close_matches
from types import NoneType
from typing import Any, Final, get_args, get_type_hints

import cyclopts

from vitreous.config.jobs import configurations
from vitreous.errors import OptionError

STEPS: Final = (
    *("import", "motion", "ctf", "pick", "extract", "class2d", "select", "abinit", "refine"),
)
"""Commands that the road is made of, in order."""

_SET_BY_THE_ROAD: Final = (
    *("out", "overwrite", "resume", "ranks", "files", "kind", "movies", "micrographs", "auto"),
    *("particles", "coordinates", "references", "reference_pixel_size", "reference"),
)
"""Options that the road itself gives to its steps."""

Changes = dict[str, dict[str, Any]]
"""Options by the names of their steps."""


def _close(word: str, known: Sequence[str]) -> str:
    close = get_close_matches(word, known, 1)
    return f"; do you mean {close[0]}?" if close else ""


def _refused(word: str, what: str, hint: str) -> OptionError:
    return OptionError(f"{word!r}: {what}", where="--set", hint=hint)


def _value(word: str, text: str, hint: Any) -> Any:
    """What an option's text stands for."""
    if text.lower() == "none" and NoneType in get_args(hint):
        return None
    several = any(getattr(one, "__origin__", None) is tuple for one in (hint, *get_args(hint)))
    try:
        return cyclopts.convert(hint, text.split(",") if several else [text])
    except (cyclopts.CycloptsError, ValueError) as error:
        said = str(error).strip().splitlines()[-1].rstrip(".")
        raise _refused(word, said[:1].lower() + said[1:], "give a value that it can take") from None


def changes_of(words: Sequence[str]) -> Changes:
    """Options of steps, from words such as ``pick.fdr=0.05``.

    Raises
    ------
    OptionError
        For a step or an option that there is not, one that the road sets itself, or a value that
        the option cannot take.
    """
    found: Changes = {}
    for word in words:
        named, equals, text = word.partition("=")
        step, dot, option = named.strip().partition(".")
        name = option.replace("-", "_")
        if not (equals and dot):
            raise _refused(word, "is no option of a step", "write step.option=value")
        if step not in STEPS:
            hint = f"the steps are {', '.join(STEPS)}{_close(step, STEPS)}"
            raise _refused(word, f"there is no step {step}", hint)
        kind = configurations()[step]
        known = [field.name for field in fields(kind) if field.name not in _SET_BY_THE_ROAD]
        if name in _SET_BY_THE_ROAD:
            raise _refused(word, f"{option} is set by the job itself", "leave it out")
        if name not in known:
            hint = f"see vitreous {step} --help{_close(name, known)}"
            raise _refused(word, f"{step} has no option {option}", hint)
        found.setdefault(step, {})[name] = _value(word, text.strip(), get_type_hints(kind)[name])
    return found
