"""What reuse saved is told from the ledger; an enumeration goes through the space chunk by chunk."""

from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
from study_run.synthetic import calibration

from tstitch_search.config import load_study
from tstitch_search.latency_model import LatencyModel
from tstitch_search.ledger import read_events
from tstitch_search.measure.measurer import StudyMeasurer
from tstitch_search.progress import Silent
from tstitch_search.report.reuse import calls_in, reuse_in_words
from tstitch_search.study_run import run_study
from tstitch_search.workers.inline import InlinePool


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


class Listener(Silent):
    """Remembers what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)


@pytest.mark.slow
def test_a_run_of_real_members_gives_the_same_numbers_with_fewer_calls(tiny_family: Path, tmp_path: Path) -> None:
    quality, made = {}, {}
    for reuse_mb in (0, 100):
        given = ("space.grid=2", "confirm.n_images=20", f"workers.reuse_mb={reuse_mb}")
        study, listener = load_study(tiny_family / "study.yaml", given), Listener()
        factory = partial(StudyMeasurer, study, 1)
        outcome = run_study(study, tmp_path / str(reuse_mb), lambda _, f=factory: InlinePool(f), listener)
        events = list(read_events(outcome.folder / "ledger.jsonl"))
        quality[reuse_mb] = {e["allocation"]: e["quality"] for e in events if e["event"] == "trial"}
        made[reuse_mb] = calls_in(e for e in events if e["event"] == "chunk" and e["set"] == "search")
        assert any("shared beginnings" in text for text in listener.said) == bool(reuse_mb)
    assert quality[0] == quality[100]
    # S*4, B*4, XL*4, S*2-B*2, S*2-XL*2, B*2-XL*2: 24 steps, of which 2 + 2 of S and 2 of B are shared; two chunks
    assert (made[0].n_all, made[0].n_reused) == (48, 0)
    assert (made[100].n_all, made[100].n_reused) == (48, 12)
