"""How a run is getting on, read from its ledger alone: from another shell, while it goes on or afterwards."""

import fcntl
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from tstitch_search.allocation import Allocation
from tstitch_search.errors import ConfigError
from tstitch_search.latency_model import LatencyModel
from tstitch_search.ledger import Event, read_events
from tstitch_search.lookup import LookupTable
from tstitch_search.measurement import Calibration
from tstitch_search.pareto import pareto_front
from tstitch_search.quality.metrics import metric_named

# What the newest event of a kind says about where a run is.
STAGE_OF = {
    "opened": "preparing",
    "loaded": "preparing",
    "reference": "calibrating",
    "calibration": "searching",
    "trial": "searching",
    "stopped": "confirming",
    "drift": "confirming",
    "published": "computing the values of the front, then timing it",
    "timing": "timing the front",
    "finished": "finished",
}


@dataclass(frozen=True)
class Answer:
    """What a finished run published. `front`: (allocation, seconds, quality) of its table, fastest first."""

    table: str
    report: str
    headline: str
    front: tuple[tuple[str, float, float], ...]


@dataclass
class Status:
    """What a ledger says. `front`: (allocation, latency_s, quality) of the search so far, fastest first.

    `answer`: that of the run's lookup table, once the run is finished; the search's own view of it is past then.
    """

    study: str = ""
    stage: str = "preparing"
    is_running: bool = False
    last_event_at: str = ""
    n_images: dict[str, int] = field(default_factory=lambda: {"search": 0, "confirm": 0})
    device_seconds: float = 0.0
    trials: dict[str, int] = field(default_factory=dict)
    workers: dict[str, str] = field(default_factory=dict)
    n_failed_chunks: int = 0
    n_timing_rounds: int = 0
    last_error: str = ""
    search_stopped: str = ""
    front: list[tuple[str, float, float]] = field(default_factory=list)
    answer: Answer | None = None

    @property
    def silent_s(self) -> float:
        """Seconds since the last event."""
        return (datetime.now(UTC) - datetime.fromisoformat(self.last_event_at)).total_seconds()


def status_of(path: Path) -> Status:
    """The state of the run folder at `path`; a run in it is not disturbed. Raises ConfigError when it is none."""
    ledger = path / "ledger.jsonl"
    if not ledger.is_file():
        raise ConfigError(f"{path} holds no ledger.jsonl", hint="give the folder of a run, such as reports/quickstart")
    status, trials, latency = Status(is_running=_is_being_written(ledger)), dict[str, Event](), None
    for event in read_events(ledger):
        _take(status, event)
        if event["event"] == "trial":
            trials[event["allocation"]] = event
        if event["event"] == "calibration":
            latency = LatencyModel(Calibration.of_event(event))
    status.trials = dict(Counter(e["state"] for e in trials.values()))
    status.front = _front([e for e in trials.values() if "quality" in e], latency)
    if status.stage == "finished" and not status.is_running and (path / "lookup.json").is_file():
        status.answer = _answer(path)
    return status


def _answer(path: Path) -> Answer:
    table = LookupTable.read(path / "lookup.json")
    front = tuple((str(e.allocation), e.latency_s, e.quality) for e in table.entries)
    headline = str(table.provenance.get("headline") or "")
    return Answer(str(path / "lookup.json"), str(path / "report.html"), headline, front)


def _take(status: Status, event: Event) -> None:
    status.last_event_at = event["at"]
    status.stage = STAGE_OF.get(event["event"], status.stage)
    match event["event"]:
        case "opened":
            status.study = event["study"]
        case "loaded":
            status.workers[event["worker"]] = event["device"]
        case "timing_round":
            status.n_timing_rounds += 1
            status.stage = f"timing the front, {status.n_timing_rounds} rounds done"
        case "chunk":
            status.n_images[event["set"]] += event["last"] - event["first"]
            status.device_seconds += event["seconds"]
        case "failed":
            status.n_failed_chunks += 1
            status.last_error = f"{event['allocation']}: {event['error']}"
        case "stopped":
            status.search_stopped = event["reason"]


def _front(trials: list[Event], latency: LatencyModel | None) -> list[tuple[str, float, float]]:
    """The non-dominated among those measured at the newest number of images, at the times taken last."""
    newest = [e for e in trials if e["n_images"] == trials[-1]["n_images"]] if trials else []
    seconds = [latency.latency_s(Allocation.parse(e["allocation"])) if latency else e["latency_s"] for e in newest]
    losses = [e["quality"] * (-1 if metric_named(e["metric"]).higher_is_better else 1) for e in newest]
    best = pareto_front(list(zip(seconds, losses, strict=True)))
    return [(newest[i]["allocation"], seconds[i], newest[i]["quality"]) for i in best]


def _is_being_written(ledger: Path) -> bool:
    """Whether a run holds the ledger, on this machine."""
    with ledger.open("rb") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
    return False
