"""The truth about a study: an append-only file of JSON lines, one per thing that happened.

Readers: `run` (to go on after a crash), the report, and anyone with a text editor. Every line has an `event` and the
time `at` (UTC) it was written; the first one is `opened`. A line is on disk (fsync) before anything is decided from
it. A torn last line, left by a crash in the middle of a write, is cut off when the ledger is opened for writing;
damage anywhere else is an error.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path
from typing import Any

from tstitch_search.errors import EnvironmentProblem

LEDGER_VERSION = 1
Event = dict[str, Any]


class Ledger:
    """Append and read the events of one run folder. One process writes; any number may read."""

    def __init__(self, path: Path):
        """Open `path` for appending, creating it when missing and cutting off a torn last line.

        Raises EnvironmentProblem when it cannot be written, another process writes it or a line is damaged.
        """
        self.path = path
        self._stream = _open_alone(path)
        try:
            self._cut_torn_tail()
            self.events: list[Event] = list(read_events(path))
        except BaseException:
            self._stream.close()
            raise

    def append(self, event: str, **fields: Any) -> Event:
        """Write one event and return it, as a reader will see it, once it is on disk.

        Raises EnvironmentProblem when the disk refuses (the file is then as before), ValueError on NaN or infinity.
        """
        line = {"event": event, "at": datetime.now(UTC).isoformat(timespec="seconds"), **fields}
        content = json.dumps(line, allow_nan=False).encode() + b"\n"
        end = self._stream.seek(0, os.SEEK_END)
        try:
            _write_all(self._stream, content)
            os.fsync(self._stream.fileno())
        except OSError as error:
            self._stream.truncate(end)
            raise EnvironmentProblem(
                f"cannot write {self.path}: {error.strerror}; all earlier lines are safe",
                hint="make room, then run the same command again: it goes on from here",
            ) from error
        self.events.append(json.loads(content))
        return self.events[-1]

    def of(self, event: str) -> list[Event]:
        """All events of one kind, in the order they happened."""
        return [e for e in self.events if e["event"] == event]

    def last(self, event: str) -> Event | None:
        """The newest event of one kind, or None."""
        return next((e for e in reversed(self.events) if e["event"] == event), None)

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()  # every line is already on disk

    def _cut_torn_tail(self) -> None:
        data = self.path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            self._stream.truncate(whole)


def _open_alone(path: Path) -> FileIO:
    """The file open for appending and locked; unbuffered, so that closing has nothing left to write."""
    try:
        stream = path.open("ab", buffering=0)
    except OSError as error:
        raise EnvironmentProblem(
            f"cannot write {path}: {error.strerror}", hint="choose a writable folder with --output"
        ) from error
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        stream.close()
        busy = isinstance(error, BlockingIOError)
        raise EnvironmentProblem(
            f"another process is writing {path}" if busy else f"cannot lock {path}: {error.strerror}",
            hint="wait for it, or give this run another --output",
        ) from error
    return stream


def _write_all(stream: FileIO, content: bytes) -> None:
    while content:  # a disk that is filling up takes a part before it refuses
        content = content[stream.write(content) :]


def read_events(path: Path) -> Iterator[Event]:
    """The events of the ledger at `path`; a torn last line is left out. Raises EnvironmentProblem on other damage."""
    lines = path.read_bytes().split(b"\n")[:-1]  # what follows the last newline is empty or torn
    for number, line in enumerate(lines, start=1):
        try:
            event = json.loads(line)
            event["event"]
        except (ValueError, TypeError, KeyError) as error:
            raise EnvironmentProblem(
                f"{path}, line {number} is damaged: expected a JSON object with an `event`",
                hint="restore the file from a backup",
            ) from error
        yield event
