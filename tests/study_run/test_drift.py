"""A machine that became slower is noticed from the chunks' own seconds, and timed again before the confirmation."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from study_run.synthetic import STEP_S, SyntheticMeasurer, latency_s

from tstitch_search.allocation import Allocation
from tstitch_search.latency_model import LatencyModel
from tstitch_search.ledger import read_events
from tstitch_search.lookup import LookupTable
from tstitch_search.measurement import Answer, Calibration, Job, MakeChunk
from tstitch_search.study_run.times.drift import drift_of
from tstitch_search.tasks.status import status_of


def chunks(pace: Mapping[str, float], n: int = 40, slower: float = 1.0, noise: float = 0.03) -> list[dict[str, Any]]:
    """`n` chunks of changing allocations; members take `pace` seconds a call, later `slower` times that."""
    draw = np.random.default_rng(7)
    found = []
    for i in range(n):
        made = {"S": int(draw.integers(0, 21)), "XL": 0}
        made["XL"] = 20 - made["S"]
        seconds = (0.5 + sum(k * pace[name] for name, k in made.items())) * (slower if i >= n // 2 else 1.0)
        seconds *= np.exp(noise * draw.normal())
        found.append({"set": "search", "seconds": seconds, "worker": f"worker-{i % 2}", "calls": {"made": made}})
    return found


@pytest.mark.parametrize("slower", [0.7, 1.15, 2.0])
def test_a_drift_is_found_with_a_band_that_holds_it(slower: float) -> None:
    found = drift_of(chunks({"S": 0.1, "XL": 1.0}, slower=slower))
    assert found is not None
    assert found.is_notable
    assert found.low <= slower - 1 <= found.high


def test_a_steady_machine_has_none_whatever_was_asked_of_it() -> None:
    """Also where cheap allocations came first and dear ones last, and one worker is slower."""
    events = sorted(chunks({"S": 0.1, "XL": 1.0}), key=lambda e: e["calls"]["made"]["XL"])
    for event in events:
        event["seconds"] *= 3 if event["worker"] == "worker-1" else 1
    found = drift_of(events)
    assert found is not None
    assert not found.is_notable
    assert drift_of(events[:9]) is None


@dataclass
class Slowing(SyntheticMeasurer):
    """Its device takes `slower` times as long once it has made `steady` chunks."""

    steady: int = 12
    slower: float = 1.5

    def do(self, job: Job) -> Answer:
        pace = self.slower if len(self.made) >= self.steady else 1.0
        self.step_s = {name: s * pace for name, s in STEP_S.items()}
        answer = super().do(job)
        if isinstance(job, MakeChunk):
            answer = type(answer)(answer.arrays, latency_s(job.allocation, self.step_s))
        return answer


def test_a_drift_is_answered_by_timing_again_and_all_seconds_are_the_later_ones(run, measurer) -> None:
    outcome = run(Slowing(measurer.reference))
    events = list(read_events(outcome.folder / "ledger.jsonl"))
    first, second = [Calibration.of_event(e) for e in events if e["event"] == "calibration"]
    assert second.step_s["XL"] == pytest.approx(1.5 * first.step_s["XL"])
    [drift] = [e for e in events if e["event"] == "drift"]
    assert drift["notable"]
    assert drift["share"] == pytest.approx(0.5, abs=0.1)
    order = [e["event"] for e in events]
    assert order.index("stopped") < order.index("drift") < order.index("timing")
    table = LookupTable.read(outcome.folder / "lookup.json")
    for candidate in table.candidates:
        if not candidate.confirmed:
            assert candidate.latency_s_predicted == LatencyModel(second).latency_s(candidate.allocation)
    for entry in table.entries:  # what the search went by, held against what was measured
        assert entry.latency_s_predicted == LatencyModel(first).latency_s(entry.allocation)
    for text, seconds, _ in status_of(outcome.folder).front:
        assert seconds in {e.latency_s for e in table.entries} or seconds == LatencyModel(second).latency_s(
            Allocation.parse(text)
        )
    page = (outcome.folder / "report.html").read_text()
    assert "so the denoisers were timed again after it" in page
    assert run(Slowing(measurer.reference)).n_new == 0


def test_a_steady_machine_is_timed_once(run, measurer) -> None:
    outcome = run(measurer)
    events = [e["event"] for e in read_events(outcome.folder / "ledger.jsonl")]
    assert events.count("calibration") == events.count("drift") == 1
