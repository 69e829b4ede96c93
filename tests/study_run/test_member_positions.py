"""The search learns where members lie from their predictions, once per run folder, and does without where it cannot."""

from pathlib import Path

import pytest

from tstitch_search.config import load_study
from tstitch_search.ledger import read_events
from tstitch_search.measure.measurer import StudyMeasurer
from tstitch_search.measurement import Answer, Job, Probe
from tstitch_search.progress import Silent
from tstitch_search.study_run import run_study
from tstitch_search.workers.inline import InlinePool

ANY_ORDER = ["space.orders=any", "space.max_switches=1", "search.sampler=known_latency", "search.n_trials=6"]


class Counting(StudyMeasurer):
    """A study's measurer that remembers the probes it was asked for."""

    probes = 0

    def do(self, job: Job) -> Answer:
        self.probes += isinstance(job, Probe)
        return super().do(job)


def run(tiny_family: Path, folder: Path, *overrides: str) -> tuple[list[dict], Counting]:
    study = load_study(tiny_family / "study.yaml", [*ANY_ORDER, *overrides])
    measurer = Counting(study)
    run_study(study, folder, lambda _: InlinePool(lambda: measurer), Silent())
    return [e for e in read_events(folder / "ledger.jsonl") if e["event"] == "similarity"], measurer


@pytest.mark.slow
def test_members_are_probed_once_and_their_distances_kept(tiny_family: Path, tmp_path: Path) -> None:
    (event,), first = run(tiny_family, tmp_path / "run")
    distances = event["distances"]
    assert all(distances[i][i] == 0 for i in range(3))
    assert all(0 < distances[i][j] == distances[j][i] <= 2 for i in range(3) for j in range(i))
    again, second = run(tiny_family, tmp_path / "run", "search.n_trials=8")
    assert (first.probes, second.probes) == (1, 0)
    assert again == [event]


@pytest.mark.slow
def test_where_one_order_says_enough_nobody_is_probed(tiny_family: Path, tmp_path: Path) -> None:
    events, measurer = run(tiny_family, tmp_path / "run", "space.orders=small_first", "space.max_switches=null")
    assert (events, measurer.probes) == ([], 0)
