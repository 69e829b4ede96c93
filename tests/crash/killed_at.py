"""The command line, which kills itself at a named point: `python killed_at.py POINT NUMBER run STUDY -o FOLDER`.

Only what is public is wrapped, and only in this process: what a caller of the ledger, the feature store, the decision
record or a measurer would see, and which files Python opens and renames (its own audit events).
"""

import json
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from tstitch_search.cli import main
from tstitch_search.ledger import Ledger
from tstitch_search.measure.recorded.measurer import RecordedMeasurer
from tstitch_search.measurement import MakeChunk, TimeAllocations
from tstitch_search.search import AllocationStudy


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def at_the(number: int) -> Callable[[], None]:
    """Dies when called for the `number`-th time."""
    calls = iter(range(1, number))

    def call() -> None:
        if next(calls, None) is None:
            die()

    return call


def before(kind: type, name: str, hit: Callable[[], None], applies: Callable[..., bool] = lambda *_: True) -> None:
    """Have `hit` called before the method, when it applies to the arguments."""
    method = getattr(kind, name)

    def wrapped(self: Any, *arguments: Any, **named: Any) -> Any:
        if applies(*arguments):
            hit()
        return method(self, *arguments, **named)

    setattr(kind, name, wrapped)


def tear_a_line(number: int) -> None:
    """Die when half of the `number`-th chunk's line is written."""
    add, left = Ledger.add, iter(range(1, number))

    def torn(self: Ledger, event: str, **fields: Any) -> Any:
        if event == "chunk" and next(left, None) is None:
            line = json.dumps({"event": event, **fields}).encode()
            with self.path.open("ab") as stream:
                stream.write(line[: len(line) // 2])
            die()
        return add(self, event, **fields)

    Ledger.add = torn  # type: ignore[method-assign]


def on_file(event: str, ending: str, hit: Callable[[], None]) -> None:
    """Have `hit` called when a file whose name ends so is opened, or about to get its final name."""

    def hook(name: str, arguments: tuple[Any, ...]) -> None:
        if name == event and str(arguments[1 if event == "os.rename" else 0]).endswith(ending):
            hit()

    sys.addaudithook(hook)


def is_chunk(set_name: str) -> Callable[..., bool]:
    return lambda job: isinstance(job, MakeChunk) and job.chunk.set_name == set_name


def install(point: str, number: int) -> None:
    hit = at_the(number)
    match point:
        case "before an ask":
            before(AllocationStudy, "ask", hit)
        case "while a chunk runs":
            before(RecordedMeasurer, "do", hit, is_chunk("search"))
        case "between ledger and tell":
            before(AllocationStudy, "tell", hit)
        case "in the middle of a ledger line":
            tear_a_line(number)
        case "a feature file is begun":
            on_file("open", ".safetensors.partial", hit)
        case "a feature file is renamed":
            on_file("os.rename", ".safetensors", hit)
        case "lookup.json is begun":
            on_file("open", "lookup.json.partial", hit)
        case "lookup.json is renamed":
            on_file("os.rename", "lookup.json", hit)
        case "during confirmation":
            before(RecordedMeasurer, "do", hit, is_chunk("confirm"))
        case "while the front is timed":
            before(RecordedMeasurer, "do", hit, lambda job: isinstance(job, TimeAllocations))
        case "never":
            pass
        case _:
            raise ValueError(point)


if __name__ == "__main__":
    install(sys.argv[1], int(sys.argv[2]))
    sys.argv = ["tstitch-search", *sys.argv[3:]]
    main()
