"""What a run says while it works. The command line shows it; tests and programs may stay silent."""

from collections.abc import Callable, Mapping
from typing import Protocol

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

    def tick(self) -> None: ...

    def note(self, text: str) -> None: ...
