"""What the model expects of unmeasured allocations is kept once, and not more than a plot can show."""

from pathlib import Path

from study_run.synthetic import calibration

from tstitch_search.latency_model import LatencyModel
from tstitch_search.ledger import Ledger
from tstitch_search.quality.estimate import QualityEstimate
from tstitch_search.search_space import SearchSpace
from tstitch_search.study_run.selection import MOST, record_posterior

LATENCY = LatencyModel(calibration())
SMALL = SearchSpace(("S", "B", "XL"), (("S", "B", "XL"),), 10, 1)
LARGE = SearchSpace(("S", "B", "XL"), (("S", "B", "XL"),), 100, 1)


def believed(space: SearchSpace, value: float = 12.3456789) -> dict:
    return {a: QualityEstimate(value, 0.5, 800, value - 10, 0.5) for a in space}


def test_what_was_not_measured_is_kept_with_its_time(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.jsonl") as ledger:
        record_posterior(ledger, believed(SMALL), [SMALL.anchor], LATENCY)
        event = ledger.last("posterior")
    assert event is not None
    assert event["n_images"] == 800
    assert {row[0] for row in event["rows"]} == {str(a) for a in SMALL} - {str(SMALL.anchor)}
    assert {tuple(row[2:]) for row in event["rows"]} == {(12.3457, 0.5)}


def test_the_same_is_not_written_twice_and_something_new_is(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.jsonl") as ledger:
        for value in (12.0, 12.0, 13.0):
            record_posterior(ledger, believed(SMALL, value), [SMALL.anchor], LATENCY)
        assert len(ledger.of("posterior")) == 2


def test_without_a_model_nothing_is_written(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.jsonl") as ledger:
        record_posterior(ledger, believed(SMALL), list(SMALL), LATENCY)
        assert list(ledger.events) == []


def test_of_a_large_space_a_part_is_kept_from_fast_to_slow(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.jsonl") as ledger:
        record_posterior(ledger, believed(LARGE), [LARGE.anchor], LATENCY)
        seconds = [row[1] for row in ledger.of("posterior")[0]["rows"]]
    assert MOST / 2 < len(seconds) <= MOST
    assert seconds == sorted(seconds)
    assert seconds[-1] > 0.9 * LATENCY.latency_s(LARGE.anchor)
