"""The truth about a study: an append-only file of JSON lines, one per thing that happened.

Readers: `run` (to go on after a crash), the report, and anyone with a text editor. Every line has an `event`; the
first one is `opened`. A line is on disk (fsync) before anything is decided from it. A torn last line, left by a
crash in the middle of a write, is cut off when the ledger is opened for writing; damage anywhere else is an error.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tstitch_search.errors import EnvironmentProblem

LEDGER_VERSION = 1
Event = dict[str, Any]


class Ledger:
    """Append and read the events of one run folder. One process writes; any number may read."""

    def __init__(self, path: Path):
        """Open `path` for appending, creating it when missing and cutting off a torn last line."""
        self.path = path
        self.events: list[Event] = list(read_events(path)) if path.exists() else []
        try:
            self._stream = path.open("ab")
        except OSError as error:
            raise EnvironmentProblem(f"cannot write {path}: {error.strerror}", hint="give --output a writable folder") from error
        self._cut_torn_tail()

    def append(self, event: str, **fields: Any) -> Event:
        """Write one event and return it once it is on disk. Raises EnvironmentProblem when the disk refuses."""
        line = {"event": event, **fields}
        try:
            self._stream.write(json.dumps(line, allow_nan=False).encode() + b"\n")
            self._stream.flush()
            os.fsync(self._stream.fileno())
        except OSError as error:
            raise EnvironmentProblem(
                f"cannot write {self.path}: {error.strerror}; all earlier lines are safe",
                hint="make room, then run the same command again: it goes on from here",
            ) from error
        self.events.append(line)
        return line

    def of(self, event: str) -> list[Event]:
        """All events of one kind, in the order they happened."""
        return [e for e in self.events if e["event"] == event]

    def last(self, event: str) -> Event | None:
        """The newest event of one kind, or None."""
        return next((e for e in reversed(self.events) if e["event"] == event), None)

    def close(self) -> None:
        """Close the file; every line is already on disk."""
        self._stream.close()

    def _cut_torn_tail(self) -> None:
        data = self.path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            self._stream.truncate(whole)


def read_events(path: Path) -> Iterator[Event]:
    """The events of the ledger at `path`; a torn last line is left out. Raises EnvironmentProblem on other damage."""
    lines = path.read_bytes().split(b"\n")[:-1]  # what follows the last newline is empty or torn
    for number, line in enumerate(lines, start=1):
        try:
            event = json.loads(line)
            event["event"]
        except (ValueError, TypeError, KeyError) as error:
            raise EnvironmentProblem(
                f"{path}, line {number} is damaged: expected a JSON object with an `event`", hint="restore the file from a backup"
            ) from error
        yield event
