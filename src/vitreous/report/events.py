"""The event log: one JSON object a line, for everything that a job decides."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
import torch


def plain(value: Any) -> Any:
    """Turn arrays, paths and numbers into what JSON holds; NaN and infinity into null."""
    if isinstance(value, np.ndarray | np.generic | torch.Tensor):
        value = value.tolist()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value if isinstance(value, int | str | bool | None) else str(value)


class EventLog:
    """Writes events to a file, opened at the first of them.

    Parameters
    ----------
    path : Path
    append : bool
        Go on with a log that is there, as a resumed job does.
    """

    def __init__(self, path: Path, append: bool = False):
        self._path = path
        self._append = append
        self._file: IO[str] | None = None

    def __enter__(self) -> EventLog:
        """Return the log itself; nothing is opened yet."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def __call__(self, event: Mapping[str, Any]) -> None:
        """Write one event with the time it came."""
        if self._file is None:
            self._file = self._path.open("a" if self._append else "w", encoding="utf-8")
        record = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), **event}
        self._file.write(json.dumps(plain(record)) + "\n")
        self._file.flush()


def read_events(path: Path) -> list[dict[str, Any]]:
    """All whole events of a log: an interrupted job may have cut the last line."""
    events = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            events.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return events
