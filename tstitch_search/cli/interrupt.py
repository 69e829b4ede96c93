"""Ctrl-C: the first press asks the run to stop in order, the second stops it."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def stop_on_interrupt(say: Callable[[str], None]) -> Iterator[Callable[[], bool]]:
    """Whether the run shall stop, as a function; inside the block the second SIGINT raises KeyboardInterrupt."""
    pressed: list[int] = []

    def on_interrupt(number: int, frame: object) -> None:
        if pressed:
            raise KeyboardInterrupt
        pressed.append(number)
        say("finishing what is under way; press Ctrl-C again to stop at once")

    before = signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield lambda: bool(pressed)
    finally:
        signal.signal(signal.SIGINT, before)


def how_to_go_on() -> str:
    """The command that goes on, as it was typed."""
    return f"interrupted; the same command goes on from here: tstitch-search {' '.join(sys.argv[1:])}"
