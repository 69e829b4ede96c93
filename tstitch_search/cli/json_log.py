"""What a run says while it works, for programs: one JSON object a line on stderr, each with `event` and `at`."""

import json
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from tstitch_search.allocation import Allocation
from tstitch_search.errors import TStitchError
from tstitch_search.measurement import Chunk


def line(event: str, **fields: Any) -> str:
    """One event as text."""
    return json.dumps({"event": event, "at": datetime.now(UTC).isoformat(timespec="milliseconds"), **fields})


def log(event: str, **fields: Any) -> None:
    """Write one line."""
    print(line(event, **fields), file=sys.stderr, flush=True)


def log_error(error: TStitchError) -> None:
    """Write a problem that the user can mend as a line."""
    log("error", message=error.message, hint=error.hint, exit_code=error.exit_code)


class JsonLog:
    """A `Progress` that logs; kinds: expect, stage, chunk, known, extracted, doing, note."""

    def expect(self, work_s: Mapping[str, float], seconds_of: Callable[[Allocation, int], float]) -> None:
        log("expect", device_seconds=dict(work_s))

    def stage(self, name: str) -> None:
        log("stage", name=name)

    def made(self, allocation: Allocation, chunk: Chunk) -> None:
        log("chunk", **_which(allocation, chunk))

    def known(self, allocation: Allocation, chunk: Chunk) -> None:
        log("known", **_which(allocation, chunk))

    def extracted(self, n_done: int, n_images: int) -> None:
        log("extracted", n_done=n_done, n_images=n_images)

    def doing(self, text: str) -> None:
        log("doing", text=text)

    def tick(self) -> None: ...

    def note(self, text: str) -> None:
        log("note", text=text)


def _which(allocation: Allocation, chunk: Chunk) -> dict[str, Any]:
    return {"allocation": str(allocation), "set": chunk.set_name, "first": chunk.first, "last": chunk.last}
