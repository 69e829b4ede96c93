"""From the files of a run folder to a `Record`, or to parts of one while the run goes on."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields
from functools import partial
from pathlib import Path
from statistics import median
from typing import TypeVar

from tstitch_search.allocation import Allocation
from tstitch_search.errors import ConfigError
from tstitch_search.json_fields import get
from tstitch_search.latency_model import LatencyModel
from tstitch_search.ledger import Event, read_events
from tstitch_search.lookup import Candidate, LookupTable
from tstitch_search.measurement import NEWER_OF_CALIBRATION, Calibration, Calls, EncodedOnce, Loaded
from tstitch_search.report.record import Controls, Cost, Failure, Looked, Record

T = TypeVar("T")


def read_record(run_folder: Path) -> Record:
    """The record of the run folder. Raises ConfigError when a file is missing or an event lacks a field."""
    table = LookupTable.read(run_folder / "lookup.json")
    return of_ledger(run_folder, partial(_record, table))


def of_ledger(run_folder: Path, read: Callable[[list[Event]], T]) -> T:
    """What `read` makes of the ledger's events. Raises ConfigError naming the file."""
    path = run_folder / "ledger.jsonl"
    try:
        return read(list(read_events(path)))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}", "give the folder of a finished run") from error
    except ConfigError as error:
        raise ConfigError(f"{path}: {error.message}", error.hint) from error


def _record(table: LookupTable, events: list[Event]) -> Record:
    return Record(
        table=table,
        trials=trials_in(events),
        posterior=_posterior(_of(events, "posterior")),
        looked=tuple(_looked(events)),
        calls=calls_in(events),
        controls=_controls(_of(events, "trial")),
        calibration=calibration_in(events),
        drift=next(iter(_of(events, "drift")[-1:]), None),
        workers=_workers(_of(events, "loaded")),
        costs=costs_in(events),
        failures=failures_in(events),
        damaged=tuple(e.get("set_aside") or get(e, "file") for e in _of(events, "damaged")),
        is_finished=is_finished(events),
        prompts=prompts_in(events),
        worst={str(get(e, "allocation")): e for e in _of(events, "worst")},
    )


def _of(events: Iterable[Event], kind: str) -> list[Event]:
    return [e for e in events if e["event"] == kind]


def trials_in(events: list[Event]) -> tuple[Candidate, ...]:
    """The newest search measurement of each allocation, pruned or not; a trial that failed has none."""
    measured = [e for e in _of(events, "trial") if get(e, "state") in ("COMPLETE", "PRUNED")]
    retimed = calibration_in(events) if len(_of(events, "calibration")) > 1 else None
    latency = LatencyModel(retimed) if retimed else None
    return tuple({trial.allocation: trial for trial in (_trial(e, latency) for e in measured)}.values())


def _trial(event: Event, latency: LatencyModel | None) -> Candidate:
    """The trial; at the times that were taken again since, if they were: all of a report is on one scale."""
    allocation = Allocation.parse(str(get(event, "allocation")))
    return Candidate(
        allocation=allocation,
        latency_s=None,
        latency_s_predicted=latency.latency_s(allocation) if latency else get(event, "latency_s"),
        latency_s_se=None,
        quality=get(event, "quality"),
        quality_se=get(event, "quality_se"),
        n_images=get(event, "n_images"),
        peak_memory_mb=None,
    )


def _posterior(events: list[Event]) -> tuple[Candidate, ...]:
    """The model's newest view; rows of allocation, predicted seconds, mean and standard deviation."""
    if not events:
        return ()
    n_images, rows = get(events[-1], "n_images"), get(events[-1], "rows")
    return tuple(_believed_row(n_images, *row) for row in rows)


def _believed_row(n_images: int, text: str, latency_s: float, mean: float, sd: float) -> Candidate:
    return Candidate(
        allocation=Allocation.parse(text),
        latency_s=None,
        latency_s_predicted=latency_s,
        latency_s_se=None,
        quality=mean,
        quality_se=sd,
        n_images=n_images,
        peak_memory_mb=None,
    )


def _looked(events: list[Event]) -> Iterator[Looked]:
    """Each allocation of the search once, when its first chunk was there."""
    seconds, seen = 0.0, set()
    for event in _of(events, "chunk"):
        if get(event, "set") == "search":
            seconds += get(event, "seconds")
            if (text := str(get(event, "allocation"))) not in seen:
                seen.add(text)
                yield Looked(seconds, Allocation.parse(text))


def calls_in(events: Iterable[Event]) -> Calls:
    """The denoiser calls that `chunk` events count; none in ledgers from before they were counted."""
    total = Calls()
    for event in _of(events, "chunk"):
        counted = event.get("calls", {})
        total.made.update(counted.get("made", {}))
        total.reused.update(counted.get("reused", {}))
    return total


def prompts_in(events: Iterable[Event]) -> EncodedOnce | None:
    """What `chunk` events say was saved by encoding prompts once; None where they say nothing."""
    told = [e["prompts"] for e in _of(events, "chunk") if "prompts" in e]
    if not told:
        return None
    return EncodedOnce(sum(get(p, "saved_s") for p in told), max(get(p, "freed_mb") for p in told))


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


def is_finished(events: list[Event]) -> bool:
    """Whether the run came to its end and measured nothing since."""
    kinds = [e["event"] for e in events if e["event"] in ("chunk", "trial", "timing", "finished")]
    return kinds[-1:] == ["finished"]


def calibration_in(events: list[Event]) -> Calibration | None:
    """The newest calibration, if any."""
    newest = _of(events, "calibration")[-1:]
    if not newest:
        return None
    values = {**NEWER_OF_CALIBRATION, **newest[0]}
    return Calibration(**{f.name: get(values, f.name) for f in fields(Calibration)})


def failures_in(events: list[Event]) -> tuple[Failure, ...]:
    """Failed attempts at chunks, counted by reason."""
    failed = _of(events, "failed")
    counts = Counter((str(get(e, "allocation")), str(get(e, "set")), str(get(e, "error"))) for e in failed)
    return tuple(Failure(*reason, n_attempts=n) for reason, n in counts.items())


def costs_in(events: list[Event]) -> tuple[Cost, ...]:
    """Search, confirmation and timing, in this order."""
    parts = [("Search", "search"), ("Confirmation", "confirm")]
    chunks = [_chunk_cost(part, [e for e in _of(events, "chunk") if get(e, "set") == name]) for part, name in parts]
    timings = _of(events, "timing")
    seconds = sum(sum(get(e, "seconds")) for e in timings)
    return (*chunks, Cost("Timing", seconds, 0, len({get(e, "allocation") for e in timings})))


def images_in(events: list[Event], set_name: str) -> Counter[str]:
    """Images made of each allocation for one set."""
    made: Counter[str] = Counter()
    for event in _of(events, "chunk"):
        if get(event, "set") == set_name:
            made[str(get(event, "allocation"))] += get(event, "last") - get(event, "first")
    return made


def _chunk_cost(part: str, chunks: list[Event]) -> Cost:
    return Cost(
        part,
        seconds=sum(get(e, "seconds") for e in chunks),
        n_images=sum(get(e, "last") - get(e, "first") for e in chunks),
        n_allocations=len({get(e, "allocation") for e in chunks}),
    )
