"""The study asks each allocation once, decides from its seed and what it was told, and can be read in Optuna."""

from itertools import pairwise

import optuna
import pytest
from optuna.trial import TrialState
from search.studies import (
    ALONE,
    ANY_ORDER,
    COUNTS,
    MANY,
    SAMPLERS,
    THREE,
    answer,
    ask_all,
    fid,
    in_optuna,
    latency_s,
    open_study,
    questions,
)

from tstitch_search.allocation import Allocation
from tstitch_search.errors import EnvironmentProblem


@pytest.mark.parametrize(
    ("sampler", "space"),
    [
        *((s, ALONE) for s in SAMPLERS),
        ("known_latency", THREE),
        ("known_latency", ANY_ORDER),
        ("enumerate", THREE),
        ("random", ANY_ORDER),
        ("tpe", THREE),
        ("nsga2", ANY_ORDER),
        *((s, COUNTS) for s in SAMPLERS),
    ],
)
def test_baselines_come_first_then_every_allocation_once_then_none(tmp_path, sampler, space):
    study = open_study(tmp_path, sampler, space)
    asked = ask_all(study)
    assert asked[: len(space.baselines())] == space.baselines()
    assert len(asked) == len(set(asked))
    assert set(asked) == set(space)
    assert study.ask() is None
    assert study.allocations == asked
    assert study.n_allocations == len(space)


@pytest.mark.parametrize("sampler", ["random", "tpe", "nsga2"])
def test_baselines_off_the_grid_are_asked_by_the_study_and_not_proposed_again(tmp_path, sampler):
    ask_all(open_study(tmp_path, sampler, COUNTS))
    proposed = [t.params["baseline"] for t in in_optuna(tmp_path).trials]
    assert sorted(name for name in proposed if name != "none") == ["S*1-XL*1-" * 3 + "S*1-XL*1", "S*3-XL*5", "XL*6"]


def test_an_optuna_trial_calls_a_baseline_by_name_and_has_cut_points_only_on_the_grid(tmp_path):
    ask_all(open_study(tmp_path, "enumerate", COUNTS), at_most=len(COUNTS.baselines()))
    said = {t.user_attrs["allocation"]: t.user_attrs for t in in_optuna(tmp_path).trials}
    assert said["XL*6"].keys() == {"allocation", "baseline", "fid_se", "n_images"}
    assert said["XL*6"]["baseline"] == "XL, 6 steps"
    assert (said["XL*4"]["baseline"], said["XL*4"]["n_steps"], said["XL*4"]["cut_1"]) == ("XL, 4 steps", 4, 0)


@pytest.mark.parametrize("sampler", ["known_latency", "tpe"])
def test_nothing_is_asked_twice_while_several_are_under_way_and_some_fail(tmp_path, sampler):
    study = open_study(tmp_path, sampler)
    live, asked, failed = [], [], []
    while trial := study.ask():
        asked.append(trial.allocation)
        live.append(trial)
        if len(live) > 3:
            oldest = live.pop(0)
            if len(oldest.allocation.segments) == 2:
                study.fail(oldest, "features are not finite")
                failed.append(oldest.allocation)
            else:
                answer(study, oldest)
    assert len(asked) == len(set(asked)) == len(THREE)
    assert study.n_allocations == len(THREE)
    for trial in live:
        answer(study, trial)
    assert set(study.allocations) == set(asked) - set(failed)


@pytest.mark.parametrize("sampler", ["enumerate", "random"])
def test_another_seed_asks_other_questions(tmp_path, sampler):
    (tmp_path / "other").mkdir()
    assert questions(tmp_path, sampler, 6) != questions(tmp_path / "other", sampler, 6, seed=4)


def test_repeated_proposals_are_drawn_anew_each_time(finished):
    trials = finished.trials
    repeats = [b for a, b in pairwise(trials) if "dismissed" in a.user_attrs and "dismissed" in b.user_attrs]
    same = [b for a, b in pairwise(trials) if a.params == b.params]
    assert len(same) < len(repeats) / 2


def test_nsga2_counts_the_baselines_to_its_first_generation(tmp_path):
    ask_all(open_study(tmp_path, "nsga2"), at_most=4)
    assert all(any("generation" in key for key in t.system_attrs) for t in in_optuna(tmp_path).trials)


@pytest.mark.parametrize("sampler", ["known_latency", "tpe"])
def test_other_answers_lead_to_other_questions(tmp_path, sampler):
    (tmp_path / "other").mkdir()
    assert questions(tmp_path, sampler, 14) != questions(tmp_path / "other", sampler, 14, taste=-1)


def test_gp_of_optuna_asks_by_the_same_rules(tmp_path):
    asked = ask_all(open_study(tmp_path, "gp", MANY), at_most=12)  # the first ten are its random start
    assert asked[:4] == MANY.baselines()
    assert len(set(asked)) == 12


def test_focus_is_respected_and_proposals_outside_it_do_not_use_up_the_budget(tmp_path):
    inside = [a for a in THREE if "B" in a.steps and "XL" not in a.steps]
    candidates = [*THREE.baselines(), *(a for a in inside if a not in THREE.baselines())]
    study = open_study(tmp_path, "tpe", candidates=candidates)
    for n, _ in enumerate(candidates, start=1):
        trial = study.ask()
        assert trial is not None
        assert trial.allocation in candidates
        assert study.n_allocations == n
        answer(study, trial)
    assert study.ask() is None


def test_widened_focus_asks_also_what_was_outside_before(tmp_path):
    inside = [*THREE.baselines(), Allocation.parse("S*4-B*2")]
    narrow = ask_all(open_study(tmp_path, "random", candidates=inside))
    assert len(in_optuna(tmp_path).trials) > len(narrow)  # the random sampler did look outside
    study = open_study(tmp_path, "random")
    assert set(ask_all(study)) == set(THREE) - set(narrow)
    assert set(study.allocations) == set(THREE)


def test_metric_names_parameters_and_attributes_are_readable_in_optuna(tmp_path):
    study = open_study(tmp_path, "tpe")
    ask_all(study, at_most=4)
    fifth = study.ask()
    assert fifth is not None
    study.fail(fifth, "features are not finite")
    seen = in_optuna(tmp_path)
    assert seen.metric_names == ["latency_s", "fid"]
    assert seen.directions == [optuna.study.StudyDirection.MINIMIZE] * 2
    rule = seen.trials[3]  # S*2-XL*4, the baseline of 40 % small
    assert rule.values == [latency_s(THREE.baselines()[3]), fid(THREE.baselines()[3])]
    assert rule.params == {"steps_1": 2, "share_2": 0.0}
    said = {"allocation": "S*2-XL*4", "cut_1": 2, "cut_2": 2, "baseline": "40 % rule"}
    assert rule.user_attrs == said | {"fid_se": 0.5, "n_images": 100}
    assert seen.trials[-1].state == TrialState.FAIL
    assert seen.trials[-1].user_attrs["reason"] == "features are not finite"


def test_enumeration_is_written_as_cut_points(tmp_path):
    ask_all(open_study(tmp_path, "enumerate"), at_most=4)
    assert in_optuna(tmp_path).trials[3].params == {"cut_1": 2, "cut_2": 2}


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> optuna.Study:
    """A study that asked for all of ANY_ORDER, as Optuna sees it."""
    folder = tmp_path_factory.mktemp("finished")
    ask_all(open_study(folder, "random", ANY_ORDER))
    return in_optuna(folder)


def test_optunas_best_trials_are_the_front_of_what_was_told(finished):
    told = {(latency_s(a), fid(a)) for a in ANY_ORDER}
    front = {p for p in told if not any(q != p and q[0] <= p[0] and q[1] <= p[1] for q in told)}
    assert {tuple(t.values) for t in finished.best_trials} == front


def test_proposals_that_repeat_are_answered_with_what_is_known_and_say_which_trial_they_repeat(finished):
    trials = finished.trials
    dismissed = [t for t in trials if "dismissed" in t.user_attrs]
    assert dismissed  # the last of eight is hardly ever drawn at once
    assert {t.state for t in dismissed} == {TrialState.COMPLETE}
    assert len(trials) - len(dismissed) == len(ANY_ORDER)
    for t in dismissed:
        first = trials[int(t.user_attrs["dismissed"].removeprefix("repeats trial "))]
        assert t.values == first.values


@pytest.mark.parametrize("content", [b"not a database, but long enough to be taken for one" * 50, None])
def test_database_that_cannot_be_opened_is_an_error_that_says_what_is_safe(tmp_path, content):
    if content is None:
        (tmp_path / "study.db").mkdir()
    else:
        (tmp_path / "study.db").write_bytes(content)
    with pytest.raises(EnvironmentProblem, match="cannot open the study database") as caught:
        open_study(tmp_path, "random")
    assert "`tstitch-search repair RUN_DIR` rebuilds it" in caught.value.hint
