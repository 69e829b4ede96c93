"""Why a search stopped is noted once, told, and stands in the table."""

import pytest
from study_run.synthetic import SyntheticMeasurer

from tstitch_search.config import load_study
from tstitch_search.errors import ConfigError
from tstitch_search.ledger import read_events
from tstitch_search.progress import Silent
from tstitch_search.study_run import run_study
from tstitch_search.tasks.plan import plan_study
from tstitch_search.workers.inline import InlinePool


class Listening(Silent):
    """Progress that remembers what was said."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def stopped(outcome) -> list[dict]:
    return [e for e in read_events(outcome.folder / "ledger.jsonl") if e["event"] == "stopped"]


@pytest.mark.parametrize(
    ("overrides", "reason", "n_allocations"),
    [
        ([], "space exhausted: every candidate was asked for", 15),
        (["search.n_trials=6"], "trial limit: search.n_trials = 6 allocations were asked for", 6),
        (["search.device_seconds=10", "search.look_ahead=1"], "budget used up: search.device_seconds = 10", 3),
        (["search.device_seconds=4", "search.look_ahead=1"], "budget used up: search.device_seconds = 4", 3),
        (["search.n_trials=1"], "trial limit: search.n_trials = 1 allocations were asked for", 3),
    ],
)
def test_each_limit_is_a_reason_of_its_own(run, measurer, overrides, reason, n_allocations):
    outcome = run(measurer, *overrides)
    (event,) = stopped(outcome)
    assert (event["reason"], event["n_allocations"]) == (reason, n_allocations)
    assert outcome.table.provenance["search_stopped"] == reason


def test_a_budget_below_one_chunk_is_refused_by_run_and_by_plan_once_times_are_known(
    run, measurer, tiny_family, tmp_path
):
    """S*4 takes 0.6 s for a batch of 2, so 3 s for a chunk of 10."""
    expected = r"search\.device_seconds: 2\.9 s are less than one chunk of 10 images takes, 3 s with S\*4"
    with pytest.raises(ConfigError, match=expected):
        run(measurer, "search.device_seconds=2.9")
    study = load_study(tiny_family / "study.yaml", ["search.device_seconds=2.9"])
    with pytest.raises(ConfigError, match=expected):
        plan_study(study, tmp_path / "plan", lambda _: InlinePool(lambda: measurer), Silent())
    assert plan_study(load_study(tiny_family / "study.yaml", ["search.device_seconds=3.1"]), tmp_path, None, Silent())


def test_search_stops_when_little_is_left_to_gain(run, measurer):
    outcome = run(measurer, "search.sampler=known_latency", "search.tolerance=2%")
    (event,) = stopped(outcome)
    assert 4 <= event["n_allocations"] < 15
    assert event["reason"].startswith("expected remaining gain ")
    assert event["reason"].endswith(" % is below the tolerance, 2 %")


def test_stop_is_told_and_a_finished_run_notes_it_no_second_time(tiny_family, tmp_path, measurer):
    listening = Listening()

    def run(*overrides: str):
        study = load_study(tiny_family / "study.yaml", ["search.sampler=known_latency", *overrides])
        return run_study(study, tmp_path / "run", lambda _: InlinePool(lambda: measurer), listening)

    run("search.n_trials=6")
    assert listening.notes[-1] == "search stopped: trial limit: search.n_trials = 6 allocations were asked for"
    assert len(stopped(run("search.n_trials=6"))) == 1
    reasons = [e["reason"] for e in stopped(run("search.n_trials=8"))]
    assert reasons[1] == "trial limit: search.n_trials = 8 allocations were asked for"


def test_interrupted_search_by_known_latency_ends_with_the_same_questions(run, measurer):
    settings = ["search.sampler=known_latency", "search.n_trials=9"]
    undisturbed = run(measurer, *settings, folder="undisturbed").table
    interrupted = SyntheticMeasurer(measurer.reference, interrupt_after=11)
    with pytest.raises(KeyboardInterrupt):
        run(interrupted, *settings)
    interrupted.interrupt_after = None
    resumed = run(interrupted, *settings).table
    assert resumed.entries == undisturbed.entries
    assert resumed.candidates == undisturbed.candidates
