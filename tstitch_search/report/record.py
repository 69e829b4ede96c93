"""What a run folder says about its study: the lookup table and the ledger, read once and typed."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import Any

from tstitch_search.allocation import Allocation
from tstitch_search.baselines import PAPER_RULE, paper_rule
from tstitch_search.errors import ConfigError
from tstitch_search.json_fields import get
from tstitch_search.ledger import Event, read_events
from tstitch_search.lookup import Candidate, LookupEntry, LookupTable
from tstitch_search.measurement import Calibration, Loaded
from tstitch_search.report.notes import baseline_names


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
class Record:
    """Everything the page tells. `trials` holds the newest search measurement of each allocation.

    `controls` is None for a search without control variates.
    """

    table: LookupTable
    trials: tuple[Candidate, ...]
    controls: Controls | None
    calibration: Calibration | None
    workers: tuple[Loaded, ...]
    costs: tuple[Cost, ...]
    failures: tuple[Failure, ...]

    @property
    def label(self) -> str:
        """What the objective is called, for example FID."""
        return self.table.objective.label

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
        anchor = self.table.anchor
        return anchor.n_steps if anchor else max(c.allocation.n_steps for c in (*self.confirmed, *self.trials))

    @property
    def largest(self) -> str | None:
        """Name of the denoiser that all are held against, if known."""
        named = self.table.provenance.get("largest")
        return str(named) if named is not None else self._by_cost()[-1] if self.calibration else None

    @property
    def largest_allocation(self) -> Allocation | None:
        """The largest denoiser taking all steps."""
        return Allocation.of([(self.largest, self.n_steps)]) if self.largest in self.denoisers else None

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
    def rivals_measured(self) -> dict[str, Candidate]:
        """What was measured of the further rules that need no search, by name."""
        found = {name: self.best_known(Allocation.parse(text)) for text, name in baseline_names(self.table).items()}
        return {name: c for name, c in found.items() if c is not None and name != PAPER_RULE}

    @property
    def paper_rule_measured(self) -> Candidate | None:
        """What was measured of the paper's rule, if anything."""
        return self.best_known(self.paper_rule) if self.paper_rule else None

    def best_known(self, allocation: Allocation) -> Candidate | None:
        """The confirmed measurement of `allocation`, else the search's, else None."""
        return next((c for c in (*self.confirmed, *self.trials) if c.allocation == allocation), None)

    def speed_up(self, measured: Candidate) -> float | None:
        """How many times faster than the largest denoiser alone, both timed."""
        alone = next((c for c in self.confirmed if c.allocation == self.largest_allocation), None)
        if alone is None or alone.latency_s is None or not measured.latency_s:
            return None
        return alone.latency_s / measured.latency_s

    def _by_cost(self) -> list[str]:
        step_s = self.calibration.step_s if self.calibration else {}
        return sorted(step_s, key=lambda name: step_s[name])


def read_record(run_folder: Path) -> Record:
    """The record of the run folder. Raises ConfigError when a file is missing or an event lacks a field."""
    table = LookupTable.read(run_folder / "lookup.json")
    path = run_folder / "ledger.jsonl"
    try:
        return _record(table, list(read_events(path)))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}", "give the folder of a finished run") from error
    except ConfigError as error:
        raise ConfigError(f"{path}: {error.message}", error.hint) from error


def _record(table: LookupTable, events: list[Event]) -> Record:
    calibrations = _of(events, "calibration")
    return Record(
        table=table,
        trials=_trials(_of(events, "trial")),
        controls=_controls(_of(events, "trial")),
        calibration=_calibration(calibrations[-1]) if calibrations else None,
        workers=_workers(_of(events, "loaded")),
        costs=_costs(events),
        failures=_failures(_of(events, "failed")),
    )


def _of(events: Iterable[Event], kind: str) -> list[Event]:
    return [e for e in events if e["event"] == kind]


def _trials(events: list[Event]) -> tuple[Candidate, ...]:
    """The newest measurement of each allocation, pruned or not; a trial that failed has none."""
    measured = [_trial(e) for e in events if get(e, "state") in ("COMPLETE", "PRUNED")]
    return tuple({trial.allocation: trial for trial in measured}.values())


def _trial(event: Event) -> Candidate:
    return Candidate(
        allocation=Allocation.parse(str(get(event, "allocation"))),
        latency_s=None,
        latency_s_predicted=get(event, "latency_s"),
        latency_s_se=None,
        quality=get(event, "quality"),
        quality_se=get(event, "quality_se"),
        n_images=get(event, "n_images"),
        peak_memory_mb=None,
    )


def _controls(events: list[Event]) -> Controls | None:
    """What the newest trials with control variates gained."""
    helped = {get(e, "allocation"): e for e in events if e.get("effective_n") is not None}.values()
    if not helped:
        return None
    n_made, effective_n = (median(get(e, field) for e in helped) for field in ("n_made", "effective_n"))
    return Controls(n_made, effective_n, len(helped))


def _workers(events: list[Event]) -> tuple[Loaded, ...]:
    """What each worker held; one that was started again is told once."""
    loaded = {get(e, "worker"): Loaded(get(e, "worker"), get(e, "device"), get(e, "load_s")) for e in events}
    return tuple(loaded.values())


def _calibration(event: Event) -> Calibration:
    return Calibration(**{f.name: get(event, f.name) for f in fields(Calibration)})


def _failures(events: list[Event]) -> tuple[Failure, ...]:
    counts = Counter((str(get(e, "allocation")), str(get(e, "set")), str(get(e, "error"))) for e in events)
    return tuple(Failure(*reason, n_attempts=n) for reason, n in counts.items())


def _costs(events: list[Event]) -> tuple[Cost, ...]:
    """Search, confirmation and timing, in this order."""
    parts = [("Search", "search"), ("Confirmation", "confirm")]
    chunks = [_chunk_cost(part, [e for e in _of(events, "chunk") if get(e, "set") == name]) for part, name in parts]
    timings = _of(events, "timing")
    seconds = sum(sum(get(e, "seconds")) for e in timings)
    return (*chunks, Cost("Timing", seconds, 0, len({get(e, "allocation") for e in timings})))


def _chunk_cost(part: str, chunks: list[Event]) -> Cost:
    return Cost(
        part,
        seconds=sum(get(e, "seconds") for e in chunks),
        n_images=sum(get(e, "last") - get(e, "first") for e in chunks),
        n_allocations=len({get(e, "allocation") for e in chunks}),
    )
