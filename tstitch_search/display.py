"""Live progress while a run works: a bar on a terminal or in a notebook, plain lines elsewhere, all on stderr."""

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from html import escape
from io import StringIO
from typing import Literal
from typing import Protocol as TypingProtocol

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from tstitch_search.allocation import Allocation
from tstitch_search.measurement import Chunk
from tstitch_search.progress import Progress, Silent

# Without a terminal a line comes at most this often, and one that says the same again at most that often.
LINE_EVERY_S, SAME_LINE_EVERY_S = 10.0, 60.0
STAGES = {
    "reference": "turning real images into features, once",
    "calibrate": "timing each denoiser",
    "search": "searching",
    "confirm": "confirming the front on held-out images",
    "publish": "computing the metrics of the front",
    "lossless": "making more images of what could be shown to lose nothing",
    "groups": "comparing groups of images",
    "verify": "making the images of some entries again",
    "time": "timing the front end to end",
    "requality": "computing the metric of all that was measured",
}


class Estimate:
    """How much of the expected work is done and when the rest will be, learned from the work done so far."""

    def __init__(self) -> None:
        self._expected: dict[str, float] = {}
        self._done: dict[str, float] = {}
        self._seconds_of: Callable[[Allocation, int], float] = lambda allocation, n: 0.0
        self._stage, self._started = "", time.monotonic()

    def expect(self, work_s: Mapping[str, float], seconds_of: Callable[[Allocation, int], float]) -> None:
        self._expected = {stage: s for stage, s in work_s.items() if stage != self._stage}
        self._seconds_of, self._started = seconds_of, time.monotonic()

    def enter(self, stage: str) -> None:
        if self._stage in self._expected:
            self._done[self._stage] = self._expected[self._stage]
        self._stage = stage

    def made(self, allocation: Allocation, chunk: Chunk) -> None:
        done = self._done.get(self._stage, 0.0) + self._seconds_of(allocation, chunk.n_images)
        self._done[self._stage] = min(done, self._expected.get(self._stage, 0.0))

    def known(self, allocation: Allocation, chunk: Chunk) -> None:
        left = self._expected.get(self._stage, 0.0) - self._seconds_of(allocation, chunk.n_images)
        self._expected[self._stage] = max(left, self._done.get(self._stage, 0.0))

    @property
    def share(self) -> float:
        """Part of the expected work that is done, 0 to 1."""
        total = sum(self._expected.values())
        return sum(self._done.values()) / total if total else 0.0

    @property
    def is_known(self) -> bool:
        """Whether enough is done to tell when the rest will be."""
        return self.share >= 0.02

    def __str__(self) -> str:
        if not self.is_known:
            return "finding out how long it takes"
        elapsed = time.monotonic() - self._started
        left = timedelta(seconds=round(elapsed / self.share * (1 - self.share)))
        return f"{self.share:.0%}, done at {datetime.now().astimezone() + left:%H:%M:%S} ({left} left)"


class Updated(TypingProtocol):
    """A place on a terminal or in a notebook that shows what it was last given."""

    def update(self, shown: Table) -> None:
        """Show this from now on."""
        ...


class NotebookCell:
    """A place in the output of a notebook's cell, where what is shown is exchanged at most four times a second."""

    def __init__(self) -> None:
        from IPython.display import HTML, display

        self._html, self._updated_at = HTML, 0.0
        self._handle = display(HTML(""), display_id=True)

    def update(self, shown: Table) -> None:
        if time.monotonic() - self._updated_at < 0.25:
            return
        self._updated_at, text = time.monotonic(), StringIO()
        Console(file=text, width=100, force_jupyter=False).print(shown)
        self._handle.update(self._html(f"<pre>{escape(text.getvalue())}</pre>"))

    def close(self) -> None:
        """Leave nothing."""
        self._handle.update(self._html(""))


class Display(Progress):
    """Shows what is being measured, how far it is and when it will be done; `every`: a line for each chunk."""

    def __init__(self, console: Console, live: Updated | None, every: bool = False):
        self._console, self._live, self._every = console, live, every
        self._estimate, self._stage, self._latest = Estimate(), "", ""
        self._n_made, self._line, self._line_at = 0, "", 0.0

    def expect(self, work_s: Mapping[str, float], seconds_of: Callable[[Allocation, int], float]) -> None:
        self._estimate.expect(work_s, seconds_of)

    def stage(self, name: str) -> None:
        self._estimate.enter(name)
        self._stage, self._latest, self._n_made = STAGES.get(name, name), "", 0
        self._show(at_once=True)

    def made(self, allocation: Allocation, chunk: Chunk) -> None:
        self._estimate.made(allocation, chunk)
        self._n_made += chunk.n_images
        self._latest = f"{allocation}, images {chunk.first} to {chunk.last - 1}; {self._n_made} images so far"
        self._show(at_once=self._every)

    def known(self, allocation: Allocation, chunk: Chunk) -> None:
        self._estimate.known(allocation, chunk)

    def extracted(self, n_done: int, n_images: int) -> None:
        self._latest = f"{n_done} of {n_images}"
        self._show(at_once=self._every)

    def doing(self, text: str) -> None:
        self._latest = text
        self._show(at_once=self._every)

    def tick(self) -> None:
        self._show()

    def note(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _show(self, at_once: bool = False) -> None:
        text = f"{self._stage}: {self._latest}" if self._latest else self._stage
        if self._live:
            row = Table.grid(padding=(0, 1))
            row.add_row(ProgressBar(total=1.0, completed=self._estimate.share, width=24), str(self._estimate))
            grid = Table.grid()
            grid.add_row(text)
            grid.add_row(row)
            self._live.update(grid)
        elif at_once or time.monotonic() - self._line_at > (LINE_EVERY_S if text != self._line else SAME_LINE_EVERY_S):
            self._line, self._line_at = text, time.monotonic()
            self.note(f"{text} [{self._estimate}]" if self._estimate.is_known else text)


@contextmanager
def shown(progress: Progress | bool | Literal["verbose"]) -> Iterator[Progress]:
    """Who says on stderr what happens in the block: a bar on a terminal or in a notebook and lines elsewhere; with
    "verbose" a line for each chunk; nobody when False; `progress` itself when it is a `Progress`.
    """
    console = Console(file=sys.stderr)
    if not isinstance(progress, (bool, str)):
        yield progress
    elif progress is False:
        yield Silent()
    elif console.is_jupyter and progress != "verbose":
        with closing(NotebookCell()) as cell:
            yield Display(Console(file=sys.stderr, force_jupyter=False), cell)
    elif progress == "verbose" or not console.is_terminal:
        yield Display(console, live=None, every=progress == "verbose")
    else:
        with Live(console=console, refresh_per_second=4, transient=True) as live:
            yield Display(console, live)
