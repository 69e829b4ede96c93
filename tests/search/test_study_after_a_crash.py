"""Killed anywhere and opened again, a study goes on as if nothing had happened."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState
from search.studies import ANY_ORDER, THREE, answer, ask_all, fid, in_optuna, latency_s, open_study, questions

from tstitch_search.allocation import Allocation
from tstitch_search.search.encoding import StickBreaking
from tstitch_search.search.samplers import FixedSampler


def forget_trials_after(n_kept: int, database: Path) -> None:
    """Leave the file as it was when only the first `n_kept` trials were there."""
    with closing(sqlite3.connect(database)) as connection, connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE name LIKE 'trial_%'")]
        for table in tables:
            if any(column[1] == "trial_id" for column in connection.execute(f"PRAGMA table_info({table})")):
                connection.execute(f"DELETE FROM {table} WHERE trial_id > ?", (n_kept,))
        connection.execute("DELETE FROM trials WHERE trial_id > ?", (n_kept,))


@pytest.mark.parametrize(
    ("sampler", "n_questions"), [("known_latency", 14), ("enumerate", 6), ("tpe", 14), ("nsga2", 17)]
)
def test_questions_follow_from_seed_and_history_also_when_the_asking_is_interrupted(tmp_path, sampler, n_questions):
    (tmp_path / "reopened").mkdir()
    in_one_go = questions(tmp_path, sampler, n_questions)
    assert questions(tmp_path / "reopened", sampler, n_questions, reopen_every=4) == in_one_go


def test_every_prefix_of_the_record_that_a_crash_may_leave_leads_to_the_same_questions(tmp_path):
    asked = ask_all(open_study(tmp_path, "random", ANY_ORDER))
    n_trials = len(in_optuna(tmp_path).trials)
    assert n_trials > len(asked)  # also prefixes that end among dismissed proposals
    for kept in range(5, n_trials, 4):
        folder = tmp_path / f"{kept} trials"
        folder.mkdir()
        shutil.copy(tmp_path / "study.db", folder)
        forget_trials_after(kept, folder / "study.db")
        resumed = open_study(folder, "random", ANY_ORDER)
        assert resumed.reopen() == []
        known = resumed.allocations
        assert known == asked[: len(known)]
        assert ask_all(resumed) == asked[len(known) :], kept


@pytest.mark.parametrize("sampler", ["known_latency", "tpe"])
def test_trials_under_way_are_adopted_after_a_crash_and_none_stays_running(tmp_path, sampler):
    before = open_study(tmp_path, sampler)
    lost = [before.ask() for _ in range(6)]
    assert lost[0] is not None
    answer(before, lost[0])

    after = open_study(tmp_path, sampler)
    adopted = after.reopen()
    assert adopted == lost[1:]
    for trial in adopted:
        answer(after, trial)
    states = [t.state for t in in_optuna(tmp_path).trials]
    assert TrialState.RUNNING not in states
    assert {states[trial.number] for trial in adopted} == {TrialState.COMPLETE}
    assert after.allocations == [trial.allocation for trial in lost if trial]
    assert set(ask_all(after)).isdisjoint(after.allocations[:6])


@pytest.mark.parametrize("sampler", ["known_latency", "tpe"])
def test_trial_that_died_inside_the_sampler_is_failed_and_its_baseline_asked_again(tmp_path, sampler):
    open_study(tmp_path, sampler)
    in_optuna(tmp_path).ask()  # created, no parameter drawn: what a kill -9 leaves
    study = open_study(tmp_path, sampler)
    assert study.reopen() == []
    assert in_optuna(tmp_path).trials[0].state == TrialState.FAIL
    trial = study.ask()
    assert trial is not None
    assert trial.allocation == THREE.baselines()[0]


def test_proposal_that_a_crash_left_before_it_was_dismissed_is_not_asked_on_reopening(tmp_path):
    before = open_study(tmp_path, "random", candidates=THREE.baselines())
    first = before.ask()
    assert first is not None
    answer(before, first)
    encoding, optuna_study = StickBreaking(THREE), in_optuna(tmp_path)
    for allocation in (first.allocation, Allocation.parse("S*2-B*4")):  # a repeat, and one outside the focus
        optuna_study.sampler = FixedSampler(encoding.encode(allocation), optuna.samplers.RandomSampler())
        optuna_study.ask(encoding.distributions)

    after = open_study(tmp_path, "random", candidates=THREE.baselines())
    assert after.reopen() == []
    _, repeat, outside = in_optuna(tmp_path).trials
    assert (repeat.state, repeat.values) == (TrialState.COMPLETE, [latency_s(first.allocation), fid(first.allocation)])
    assert outside.state == TrialState.FAIL
    assert after.allocations == [first.allocation]
    assert set(ask_all(after)) == set(THREE.baselines()) - {first.allocation}
