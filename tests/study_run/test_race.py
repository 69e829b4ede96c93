"""Racing: images go where they tell most, the budget counts what was told, and a crash changes nothing."""

import shutil
from collections import Counter

import pytest
from study_run.synthetic import SyntheticMeasurer

from tstitch_search.config import load_study
from tstitch_search.errors import ConfigError
from tstitch_search.ledger import read_events

RACING = (
    "space.n_steps=10",
    "search.sampler=known_latency",
    "search.racing=true",
    "quality.n_images=60",
    "quality.control_images=200",
    "proxy_set.chunk_size=20",
)


@pytest.fixture(scope="module")
def raced(finish):
    """A race that was run, shared by tests that only read it."""
    return finish(*RACING)


def trials(outcome) -> list[dict]:
    return [e for e in read_events(outcome.folder / "ledger.jsonl") if e["event"] == "trial"]


def test_images_per_allocation_vary_and_only_full_ones_are_complete(run, measurer):
    measurer.own_noise = 4.0
    outcome = run(measurer, *RACING, "search.tolerance=0.001%", "search.n_trials=25")
    told = trials(outcome)
    controls = ("S*10", "B*10", "XL*10", "S*5-B*5", "B*5-XL*5")
    assert all(t["n_made"] == 200 for t in told if t["allocation"] in controls)
    made = Counter(t["n_made"] for t in told if t["allocation"] not in controls)
    assert len(made) > 1
    assert set(made) <= {20, 40, 60}
    assert all((t["state"] == "COMPLETE") == (t["n_made"] in (60, 200)) for t in told)
    assert {t["n_images"] for t in told} == {200}


def test_it_needs_fewer_images_than_giving_all_to_each(run, measurer, raced):
    n_raced = sum(t["n_made"] for t in trials(raced.outcome))
    whole = run(measurer, *RACING, "search.racing=false")
    assert n_raced < sum(t["n_made"] for t in trials(whole))
    assert raced.outcome.table.provenance["search_stopped"].startswith("expected remaining gain")


def test_after_an_interruption_the_same_decisions_are_taken_and_no_chunk_is_made_twice(run, measurer, raced):
    interrupted = SyntheticMeasurer(measurer.reference, interrupt_after=37)
    with pytest.raises(KeyboardInterrupt):
        run(interrupted, *RACING)
    interrupted.interrupt_after = None
    resumed = run(interrupted, *RACING)
    assert len(interrupted.made) == len(set(interrupted.made)) == len(raced.made)
    assert resumed.table.entries == raced.outcome.table.entries
    assert resumed.table.candidates == raced.outcome.table.candidates


def test_no_trial_is_left_running_and_a_second_run_measures_nothing(run, measurer, raced, tmp_path):
    shutil.copytree(raced.outcome.folder, tmp_path / "run")
    again = run(measurer, *RACING)
    assert again.n_new == 0
    in_optuna = AllocationStudyStates(again.folder / "study.db")
    assert in_optuna.running == 0
    assert in_optuna.pruned > 0


class AllocationStudyStates:
    """How many trials of the one study in a database are in which state."""

    def __init__(self, path):
        import optuna

        (study,) = optuna.get_all_study_names(f"sqlite:///{path}")
        states = Counter(t.state.name for t in optuna.load_study(study_name=study, storage=f"sqlite:///{path}").trials)
        self.running, self.pruned = states["RUNNING"], states["PRUNED"]


def test_a_budget_in_device_seconds_ends_the_race(run, measurer):
    outcome = run(measurer, *RACING, "search.device_seconds=200", "search.tolerance=0%")
    assert outcome.table.provenance["search_stopped"].startswith("budget used up")


def test_an_allocation_that_cannot_be_made_costs_itself_only(run, measurer):
    measurer.broken = frozenset({"S*4-XL*6"})  # the 40 % rule, asked for in any case
    outcome = run(measurer, *RACING)
    assert outcome.n_failed == 1
    assert len(outcome.table.entries) > 2


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        (["search.sampler=tpe", "search.racing=true"], "racing: got true with the sampler tpe"),
        (["search.sampler=known_latency", "search.racing=true"], "one chunk of 10 images, expected .* at least 20"),
        (
            [*RACING, "quality.control_images=null", "quality.objective=inception_score"],
            "racing needs control variates",
        ),
    ],
)
def test_racing_without_what_it_needs_is_refused(tiny_family, settings, complaint):
    with pytest.raises(ConfigError, match=complaint):
        load_study(tiny_family / "study.yaml", settings)
