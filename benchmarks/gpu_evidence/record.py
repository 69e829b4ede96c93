"""Parts that keep to their time, and a record on disk of all that was measured, whole at any second."""

import gc
import json
import os
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[2]


class OverBudget(BaseException):
    """A part's time is up. No Exception, so that nothing on the way takes it for a failure of its own."""


@dataclass(frozen=True)
class Plan:
    """A part: its name, the seconds it may take, what it does, and `estimate(reduced)`, which says what it should take.

    An estimate holds `floor_s` and `expected_s`, derived from operations and bytes, and `how`.
    """

    name: str
    budget_s: float
    run: Callable[["Part", bool], None]
    estimate: Callable[[bool], dict[str, Any]]


class Part:
    """What a part writes to, and how it asks for the time it has left."""

    def __init__(self, document: dict[str, Any], budget_s: float, save: Callable[[], None]):
        self._document, self._save = document, save
        self._until = time.monotonic() + budget_s

    @property
    def left_s(self) -> float:
        """Seconds until the part is over."""
        return self._until - time.monotonic()

    def row(self, kind: str, **values: Any) -> None:
        """One more line of what was measured, on disk when this returns."""
        self._document["rows"].append({"kind": kind, **values})
        self._save()

    def facts(self, **values: Any) -> None:
        """Values about the part as a whole."""
        self._document["facts"].update(values)
        self._save()

    def not_run(self, what: str, why: str) -> None:
        """Say what was left out, and why."""
        self.row("not run", what=what, why=why)

    def has(self, seconds: float, what: str) -> bool:
        """Whether `what` fits into the time left; if not, that is noted."""
        if fits := self.left_s > seconds:
            return fits
        self.not_run(what, f"it needs about {seconds:.0f} s, {max(0.0, self.left_s):.0f} s were left")
        return fits


def run_parts(plans: Sequence[Plan], document: dict[str, Any], output: Path, reduced: bool) -> None:
    """Each part in turn, within its budget; a part that fails says so in the document, and the next one goes on."""

    def save() -> None:
        document["seconds"] = round(time.monotonic() - started, 2)
        write_whole(output, document)

    started = time.monotonic()
    patience = 4 if reduced else 1  # a busy CPU is no reason to fail
    for plan in plans:
        own = document["parts"][plan.name] = {"budget_s": plan.budget_s, "state": "running", "rows": [], "facts": {}}
        save()
        print(f"{plan.name}: up to {plan.budget_s:g} s", flush=True)
        began = time.monotonic()
        try:
            with time_limit(patience * plan.budget_s):
                own["estimate"] = plan.estimate(reduced)
                plan.run(Part(own, patience * plan.budget_s - (time.monotonic() - began), save), reduced)
            own["state"] = "done"
        except OverBudget:
            own["state"] = "stopped at the end of its budget"
            own["problem"] = problem_in_words()
        except Exception:  # of whatever type: the other parts do not depend on it
            own["state"] = "failed"
            own["problem"] = problem_in_words()
            print(own["problem"], flush=True)
        own["seconds"] = round(time.monotonic() - began, 2)
        save()
        print(f"{plan.name}: {own['state']} after {own['seconds']:.1f} s", flush=True)
        free_memory()


def problem_in_words() -> str:
    """The traceback of what was just raised, with this project's files named from its root."""
    return traceback.format_exc().replace(f"{ROOT}/", "")


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raises OverBudget in the main thread once so many seconds are over."""

    def stop(*_: object) -> None:
        raise OverBudget(f"{seconds:g} s are over")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def write_whole(path: Path, document: dict[str, Any]) -> None:
    """The document as JSON: whole on disk, or as it was before."""
    beside = path.with_name(path.name + ".partial")
    beside.write_text(json.dumps(document, indent=1) + "\n")
    os.replace(beside, path)


def free_memory() -> None:
    """Give back what a part left on the device."""
    gc.collect()
    torch.compiler.reset()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
