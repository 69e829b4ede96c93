"""What reuse saved is told from the ledger; an enumeration goes through the space chunk by chunk."""

from itertools import pairwise

import pytest
from run.synthetic import calibration

from tstitch_search.latency_model import LatencyModel
from tstitch_search.ledger import read_events
from tstitch_search.run.reuse import reuse_in_words


def test_the_sentence_weighs_calls_with_the_time_of_their_denoiser() -> None:
    chunks = [
        {"event": "chunk", "calls": {"made": {"S": 2, "XL": 3}, "reused": {}}},
        {"event": "chunk", "calls": {"made": {"XL": 1}, "reused": {"S": 4, "XL": 2}}},
        {"event": "chunk"},  # a ledger from before calls were counted
    ]
    said = reuse_in_words(chunks, LatencyModel(calibration()))
    # S takes 0.1 s, XL 1 s: reused 0.4 + 2 of 0.6 + 6
    assert said is not None
    assert said.startswith("shared beginnings: 6 of 12 denoiser calls were not made again, 36% of")
    assert reuse_in_words(chunks[:1], LatencyModel(calibration())) is None


@pytest.mark.parametrize(("settings", "by_chunk"), [((), True), (("search.device_seconds=1h",), False)])
def test_an_enumeration_is_worked_off_chunk_by_chunk_unless_seconds_end_it(run, measurer, settings, by_chunk) -> None:
    outcome = run(measurer, "search.sampler=enumerate", "quality.control_images=null", *settings)
    events = [e for e in read_events(outcome.folder / "ledger.jsonl") if e["event"] == "chunk" and e["set"] == "search"]
    firsts = [e["first"] for e in events]
    n_changes = sum(a != b for a, b in pairwise(firsts))
    assert (n_changes == len(set(firsts)) - 1) == by_chunk
    assert len(set(firsts)) > 1
