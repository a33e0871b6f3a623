"""The event log: one JSON object a line, for everything that a job decides."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from vitreous.io.atomic import not_written
from vitreous.io.plain import plain

LOG = "log.jsonl"
"""Name of the log in a job's folder."""


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
            with suppress(OSError):  # lines that a full disk refused, which was told already
                self._file.close()
            self._file = None

    def __call__(self, event: str | Mapping[str, Any], **fields: Any) -> None:
        """Write one event, given as a name with fields or as a mapping, with the time it came.

        Raises
        ------
        OutputError
            If it cannot be written, as on a full disk.
        """
        named = {"event": event} if isinstance(event, str) else event
        record = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), **named, **fields}
        line = json.dumps(plain(record)) + "\n"
        try:
            if self._file is None:
                self._file = self._open()
            self._file.write(line)
            self._file.flush()
        except OSError as error:
            raise not_written(self._path, error) from error

    def _open(self) -> IO[str]:
        torn = self._append and _ends_torn(self._path)
        file = self._path.open("a" if self._append else "w", encoding="utf-8")
        # Events of the resumed job must not be glued to the line that the interruption cut.
        file.write("\n" if torn else "")
        return file


def _ends_torn(path: Path) -> bool:
    return path.exists() and path.read_bytes()[-1:] not in (b"", b"\n")


def read_events(path: Path) -> list[dict[str, Any]]:
    """All whole events of a log: interruptions may have cut some lines."""
    events = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            event = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(event, dict):
            events.append(event)
    return events
