"""The truth about a study: an append-only file of JSON lines, one per thing that happened.

Readers: `run` (to go on after a crash), the report, and anyone with a text editor. Every line has an `event` and the
time `at` (UTC) it was written; the first one is `opened`. A line is on disk (fsync) before anything is decided from
it; lines that come fast share an fsync. A torn last line, left by a crash in the middle of a write, is cut off when the
ledger is opened for writing. Damaged lines elsewhere are then moved to `*.damaged` beside it, which an event records:
what they said is measured again. Without the first line nobody knows whose measurements these are, and it stays shut.
"""

import fcntl
import json
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path
from typing import Any, cast

from tstitch_search.errors import EnvironmentProblem

LEDGER_VERSION = 2
# Events of version 1 under the names that they have now.
RENAMED = {"believed": "posterior"}
# Lines written so close together share an fsync: what a power cut can lose, besides a torn line. A kill loses none.
GROUP_S = 0.1
# Of these there may be millions: they are read from the file when asked for, not kept in memory.
MANY = ("chunk",)
Event = dict[str, Any]


class Ledger:
    """Append and read the events of one run folder. One process writes; any number may read."""

    def __init__(self, path: Path):
        """Open `path` for appending, creating it when missing, cutting off a torn last line, moving damaged ones away.

        Raises EnvironmentProblem when it cannot be written, another process writes it or its first line is damaged.
        """
        self.path = path
        # Numbers, from 1, of the lines that were moved away now.
        self.damaged: tuple[int, ...] = ()
        self._stream = _open_alone(path)
        self._kept: dict[str, list[Event]] = {}
        self._synced_at, self._is_synced = 0.0, True
        self._listeners: list[Callable[[Event], None]] = []
        try:
            self._cut_torn_tail()
            self._set_damaged_lines_aside()
            for event in read_events(path):
                self._keep(event)
            if self.damaged:
                self.append("damaged", lines=list(self.damaged), file=damaged_name(path).name)
        except BaseException:
            self._stream.close()
            raise

    def append(self, event: str, **fields: Any) -> Event:
        """Write one event and return it, as a reader will see it, once it is on disk with all before it.

        Raises EnvironmentProblem when the disk refuses (the file is then as before), ValueError on NaN or infinity.
        """
        return self._write(event, fields, sync=True)

    def add(self, event: str, **fields: Any) -> Event:
        """As `append`, but on disk only when GROUP_S have passed since the last time, or with the next `append`."""
        return self._write(event, fields, sync=time.monotonic() - self._synced_at >= GROUP_S)

    def listen(self, listener: Callable[[Event], None]) -> None:
        """Have `listener` called with every event that is written from now on."""
        self._listeners.append(listener)

    @property
    def is_synced(self) -> bool:
        """Whether every line is on disk."""
        return self._is_synced

    def sync_if_due(self) -> None:
        """Bring every line to the disk when GROUP_S have passed since the last time."""
        if time.monotonic() - self._synced_at >= GROUP_S:
            self.sync()

    def sync(self) -> None:
        """Bring every line to the disk. Raises EnvironmentProblem when it refuses."""
        if not self._is_synced:
            with self._refused_in_words():
                self._fsync()

    @property
    def events(self) -> Iterator[Event]:
        """All events in the order they happened, from the file."""
        return read_events(self.path)

    def of(self, event: str) -> list[Event]:
        """All events of one kind, in the order they happened."""
        return list(self.read(event))

    def read(self, event: str) -> Iterable[Event]:
        """All events of one kind, in the order they happened, one at a time."""
        return (e for e in self.events if e["event"] == event) if event in MANY else self._kept.get(event, [])

    def last(self, event: str) -> Event | None:
        """The newest event of one kind, or None."""
        return next(iter(deque(self.read(event), maxlen=1)), None)

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(EnvironmentProblem):  # what is written survives us; that it cannot be synced was said before
            self.sync()
        self._stream.close()

    def _keep(self, event: Event) -> None:
        if event["event"] not in MANY:
            self._kept.setdefault(event["event"], []).append(event)

    def _write(self, event: str, fields: dict[str, Any], sync: bool) -> Event:
        line = {"event": event, "at": datetime.now(UTC).isoformat(timespec="seconds"), **fields}
        content = json.dumps(line, allow_nan=False).encode() + b"\n"
        end = self._stream.seek(0, os.SEEK_END)
        try:
            with self._refused_in_words():
                _write_all(self._stream, content)
                self._is_synced = False
                if sync:
                    self._fsync()
        except EnvironmentProblem:
            self._stream.truncate(end)
            raise
        written: Event = json.loads(content)
        self._keep(written)
        for listener in self._listeners:
            listener(written)
        return written

    def _fsync(self) -> None:
        os.fsync(self._stream.fileno())
        self._is_synced, self._synced_at = True, time.monotonic()

    @contextmanager
    def _refused_in_words(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise EnvironmentProblem(
                f"cannot write {self.path}: {error.strerror}; all earlier lines are safe",
                hint="make room, then run the same command again: it goes on from here",
            ) from error

    def _cut_torn_tail(self) -> None:
        with self.path.open("rb") as lines:
            self._stream.truncate(sum(len(line) for line in lines if line.endswith(b"\n")))

    def _set_damaged_lines_aside(self) -> None:
        """Move lines that are no events to the end of `*.damaged`; a crash meanwhile leaves the ledger as it was."""
        with self.path.open("rb") as lines:
            damaged = {number: line for number, line in enumerate(lines, start=1) if _parsed(line) is None}
        if not damaged:
            return
        if 1 in damaged:
            raise EnvironmentProblem(
                f"{self.path}, line 1 is damaged: it said which study the measurements belong to",
                hint="restore the file from a backup, or give this run another --output",
            )
        partial = self.path.with_name(self.path.name + ".partial")
        partial.unlink(missing_ok=True)
        with self._refused_in_words(), damaged_name(self.path).open("ab", buffering=0) as aside:
            _write_all(aside, b"".join(damaged.values()))
            os.fsync(aside.fileno())
        with self.path.open("rb") as lines, self._refused_in_words():
            whole = _open_alone(partial)
            for number, line in enumerate(lines, start=1):
                if number not in damaged:
                    _write_all(whole, line)
            os.fsync(whole.fileno())
            partial.replace(self.path)
        self._stream.close()
        self._stream, self.damaged = whole, tuple(damaged)


def damaged_name(path: Path) -> Path:
    """Where damaged content of the file at `path` is kept."""
    return path.with_name(path.name + ".damaged")


def _open_alone(path: Path) -> FileIO:
    """The file open for appending and locked; unbuffered, so that closing has nothing left to write."""
    try:
        stream = path.open("ab", buffering=0)
    except OSError as error:
        raise EnvironmentProblem(
            f"cannot write {path}: {error.strerror}", hint="choose a writable folder with --output"
        ) from error
    try:
        _lock(stream)
    except OSError as error:
        stream.close()
        busy = isinstance(error, BlockingIOError)
        raise EnvironmentProblem(
            f"another process is writing {path}" if busy else f"cannot lock {path}: {error.strerror}",
            hint="wait for it, or give this run another --output",
        ) from error
    return stream


def _lock(stream: FileIO) -> None:
    """Lock the file for this process alone; tried for a moment, since others may look whether it is locked."""
    for wait_s in (0.05, 0.1):
        with suppress(BlockingIOError):
            return fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        time.sleep(wait_s)
    fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _write_all(stream: FileIO, content: bytes) -> None:
    while content:  # a disk that is filling up takes a part before it refuses
        content = content[stream.write(content) :]


def read_events(path: Path) -> Iterator[Event]:
    """The events of the ledger at `path`; a torn last line is left out. Raises EnvironmentProblem on other damage."""
    with path.open("rb") as stream:
        yield from _events_in(path, stream)


def _events_in(path: Path, lines: Iterable[bytes]) -> Iterator[Event]:
    for number, line in enumerate(lines, start=1):
        if not line.endswith(b"\n"):  # torn
            return
        event = _parsed(line)
        if event is None:
            raise EnvironmentProblem(
                f"{path}, line {number} is damaged: expected a JSON object with an `event`",
                hint="run the study again: that sets the line aside and measures again what it said",
            )
        yield event


def _parsed(line: bytes) -> Event | None:
    """The event that the line holds; None for a line that holds none."""
    try:
        event = json.loads(line)
        event["event"] = RENAMED.get(event["event"], event["event"])
    except (ValueError, TypeError, KeyError):
        return None
    return cast(Event, event)
