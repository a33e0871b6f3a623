"""Small things worth keeping between runs, in the user's own cache folder."""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from vitreous.errors import OutputError
from vitreous.io.atomic import write_text


def cache_folder() -> Path:
    """Where this system keeps a user's caches: XDG_CACHE_HOME comes first wherever it is set."""
    given = os.environ.get("XDG_CACHE_HOME")
    if given and Path(given).is_absolute():  # others are to be ignored, as the specification says
        return Path(given) / "vitreous"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "vitreous"
    if sys.platform == "win32" and os.environ.get("LOCALAPPDATA"):
        return Path(os.environ["LOCALAPPDATA"]) / "vitreous" / "Cache"
    return Path.home() / ".cache" / "vitreous"


def _read(path: Path) -> dict[str, Any]:
    """Entries of a file; none if it is not there or damaged."""
    with suppress(OSError, ValueError):
        found = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(found, dict):
            return found
    return {}


def kept(name: str, key: str) -> Any:
    """The entry of a file in the cache; None if there is none."""
    try:
        return _read(cache_folder() / name).get(key)
    except RuntimeError:  # no home
        return None


def keep(name: str, key: str, value: Any) -> None:
    """Put an entry into a file in the cache, if that can be written."""
    with suppress(OSError, OutputError, RuntimeError):
        path = cache_folder() / name
        entries = _read(path) | {key: value}
        write_text(path, json.dumps(entries, indent=1) + "\n")
