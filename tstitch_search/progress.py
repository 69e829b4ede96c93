"""Who hears of a run: what it says while it works (the command line shows it, programs may stay silent), and what it
records, for those who want its numbers elsewhere as well, for example in TensorBoard.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from tstitch_search.allocation import Allocation
from tstitch_search.measurement import Chunk


class Progress(Protocol):
    """A listener. Work is counted in predicted device seconds, so that cheap and expensive images count fairly."""

    def expect(self, work_s: Mapping[str, float], seconds_of: Callable[[Allocation, int], float]) -> None:
        """The stages to come with their device seconds, and the seconds that n images of an allocation take."""
        ...

    def stage(self, name: str) -> None:
        """A stage begins."""
        ...

    def made(self, allocation: Allocation, chunk: Chunk) -> None:
        """A chunk of images was finished."""
        ...

    def known(self, allocation: Allocation, chunk: Chunk) -> None:
        """A chunk that was counted as work turned out to be there already."""
        ...

    def extracted(self, n_done: int, n_images: int) -> None:
        """Of the reference's `n_images` real images, `n_done` have been turned into features."""
        ...

    def doing(self, text: str) -> None:
        """How far the stage is, in words; replaces what was said so before."""
        ...

    def tick(self) -> None:
        """Time passes."""
        ...

    def note(self, text: str) -> None:
        """A sentence worth keeping."""
        ...


class Silent:
    """Says nothing."""

    def expect(self, work_s: Mapping[str, float], seconds_of: Callable[[Allocation, int], float]) -> None: ...

    def stage(self, name: str) -> None: ...

    def made(self, allocation: Allocation, chunk: Chunk) -> None: ...

    def known(self, allocation: Allocation, chunk: Chunk) -> None: ...

    def extracted(self, n_done: int, n_images: int) -> None: ...

    def doing(self, text: str) -> None: ...

    def tick(self) -> None: ...

    def note(self, text: str) -> None: ...


class Reporter(Protocol):
    """Hears each line of the ledger once it is written; what was there before this run is not repeated."""

    def event(self, event: Mapping[str, Any]) -> None:
        """One line of the ledger, of whatever kind. Must be quick."""
        ...

    def close(self) -> None:
        """The run has ended, one way or another."""
        ...
