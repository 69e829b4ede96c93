"""What a run folder says about its study: the lookup table and the ledger, typed (`reading.py` reads them)."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from tstitch_search.allocation import Allocation
from tstitch_search.baselines import PAPER_RULE, paper_rule
from tstitch_search.ledger import Event
from tstitch_search.lookup import Candidate, LookupEntry, LookupTable
from tstitch_search.measurement import Calibration, Calls, EncodedOnce, Loaded
from tstitch_search.report.notes import baseline_names
from tstitch_search.report.wording import Z_95


@dataclass(frozen=True)
class Cost:
    """What one part of the study took: device seconds summed over workers, and the images made."""

    part: str
    seconds: float
    n_images: int
    n_allocations: int


@dataclass(frozen=True)
class Failure:
    """Attempts at chunks of one allocation that failed for the same reason."""

    allocation: str
    set_name: str
    error: str
    n_attempts: int


@dataclass(frozen=True)
class Controls:
    """What control variates did for the search: `n_made` images told as much as `effective_n` would (medians)."""

    n_made: float
    effective_n: float
    n_allocations: int


@dataclass(frozen=True)
class Looked:
    """When the search had looked at one more allocation: device seconds of all images made by then."""

    device_seconds: float
    allocation: Allocation


@dataclass(frozen=True)
class Intervals:
    """95 % intervals of so many `errors` to either side, of which so many hold `together`."""

    together: int
    errors: float

    def __str__(self) -> str:
        return f"95 % for all {self.together} together" if self.together > 1 else "95 %, for itself"


SINGLE = Intervals(1, Z_95)


@dataclass(frozen=True)
class Record:
    """Everything the page tells. `trials` holds the newest search measurement of each allocation.

    `posterior`: what the search's model thinks of allocations that nobody measured. `looked`: in the order of the
    search. `calls`: of the denoisers, made and reused. `controls` is None for a search without control variates.
    `drift`: what chunks say of the machine's pace, the event of that name.
    `worst`: of an entry's text, its worst images by a metric per pair, the event of that name.
    `damaged`: files whose damaged content was set aside. `is_finished`: the run came to its end.
    """

    table: LookupTable
    trials: tuple[Candidate, ...]
    posterior: tuple[Candidate, ...]
    looked: tuple[Looked, ...]
    calls: Calls
    controls: Controls | None
    calibration: Calibration | None
    workers: tuple[Loaded, ...]
    costs: tuple[Cost, ...]
    failures: tuple[Failure, ...]
    damaged: tuple[str, ...] = ()
    is_finished: bool = True
    drift: Event | None = None
    prompts: EncodedOnce | None = None
    worst: Mapping[str, Event] = field(default_factory=dict)

    @cached_property
    def intervals(self) -> "Intervals":
        """What the confirmed entries' 95 % intervals are; of tables of before they held together single ones."""
        said = self.table.provenance.get("intervals_95")
        return Intervals(said["together"], said["errors"]) if isinstance(said, dict) else SINGLE

    @property
    def label(self) -> str:
        """What the objective is called, for example FID."""
        return self.table.objective.label

    @cached_property
    def comparable_trials(self) -> tuple[Candidate, ...]:
        """The search's measurements at the number of images that most of them have."""
        ((n_images, _),) = Counter(t.n_images for t in self.trials).most_common(1) or [(0, 0)]
        return tuple(t for t in self.trials if t.n_images == n_images)

    @cached_property
    def confirmed(self) -> tuple[Candidate, ...]:
        """All that was confirmed and timed at the front's number of images: the entries, then what they beat."""
        return (*self.table.entries, *self.beaten)

    @property
    def beaten(self) -> tuple[Candidate, ...]:
        """Confirmed and timed at the front's number of images, but dominated."""
        n = self.table.entries[0].n_images
        return tuple(c for c in self.table.candidates if c.n_images == n and c.latency_s is not None)

    def beaten_by(self, measured: Candidate) -> LookupEntry | None:
        """The best entry that is at most as slow as `measured`, and no worse."""
        loss, at_most_s = self.table.objective.loss, measured.latency_s or 0.0
        faster = [
            e for e in self.table.entries if e.latency_s <= at_most_s and loss(e.quality) <= loss(measured.quality)
        ]
        return faster[-1] if faster else None

    @cached_property
    def denoisers(self) -> tuple[str, ...]:
        """Names from the noise end: as the study lists them, else in order of first appearance."""
        listed = [str(d["name"]) for d in self.listed_denoisers]
        used = [name for c in (*self.confirmed, *self.trials) for name in c.allocation.steps]
        return tuple(dict.fromkeys([*listed, *(self.calibration.step_s if self.calibration else ()), *used]))

    @property
    def listed_denoisers(self) -> list[dict[str, Any]]:
        """The provenance's denoisers: objects with a `name`."""
        listed = self.table.provenance.get("denoisers")
        return [d for d in listed if isinstance(d, dict) and "name" in d] if isinstance(listed, list) else []

    @property
    def rivals(self) -> list[dict[str, Any]]:
        """What others published of the table's objective: objects with name, latency_s, fid and source."""
        listed = self.table.provenance.get("rivals")
        return listed if isinstance(listed, list) and self.table.objective.name == "fid" else []

    @property
    def n_steps(self) -> int:
        """Sampling steps of the longest trajectory, that of the largest denoiser alone."""
        named = self.table.provenance.get("n_steps")
        return (
            named
            if isinstance(named, int) and named > 0
            else max(c.allocation.n_steps for c in (*self.confirmed, *self.trials))
        )

    @property
    def largest(self) -> str | None:
        """Name of the largest denoiser, if known."""
        named = self.table.provenance.get("largest")
        return str(named) if named is not None else self._by_cost()[-1] if self.calibration else None

    @property
    def anchor(self) -> Allocation | None:
        """What all are held against, if known."""
        alone = Allocation.of([(self.largest, self.n_steps)]) if self.largest in self.denoisers else None
        return self.table.anchor or alone

    @property
    def paper_rule(self) -> Allocation | None:
        """The cheapest denoiser for 40 % of the steps, then the largest: as the table names it, or by measured cost."""
        if named := [text for text, name in baseline_names(self.table).items() if name == PAPER_RULE]:
            return Allocation.parse(named[0])
        cheapest = self._by_cost()[0] if self.calibration else None
        if cheapest is None or self.largest not in self.denoisers or cheapest == self.largest:
            return None
        return paper_rule(cheapest, str(self.largest), self.n_steps)

    @property
    def further_rules_measured(self) -> dict[str, Candidate]:
        """What was confirmed of the further rules that need no search, by name."""
        found = {name: self.confirmed_of(Allocation.parse(text)) for text, name in baseline_names(self.table).items()}
        return {name: c for name, c in found.items() if c is not None and name != PAPER_RULE}

    @property
    def paper_rule_measured(self) -> Candidate | None:
        """What was confirmed of the paper's rule, if anything."""
        return self.confirmed_of(self.paper_rule) if self.paper_rule else None

    def confirmed_of(self, allocation: Allocation) -> Candidate | None:
        """The confirmed measurement of `allocation`, which alone may stand beside the front; else None."""
        return next((c for c in self.confirmed if c.allocation == allocation), None)

    def speed_up(self, measured: Candidate) -> float | None:
        """How many times faster than the anchor, both timed."""
        alone = next((c for c in self.confirmed if c.allocation == self.anchor), None)
        if alone is None or alone.latency_s is None or not measured.latency_s:
            return None
        return alone.latency_s / measured.latency_s

    def _by_cost(self) -> list[str]:
        step_s = self.calibration.step_s if self.calibration else {}
        return sorted(step_s, key=lambda name: step_s[name])
