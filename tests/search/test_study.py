"""The study asks each allocation once, decides from seed and history alone, and survives being killed anywhere."""

from collections.abc import Iterable
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from tstitch_search.allocation import Allocation
from tstitch_search.errors import EnvironmentProblem
from tstitch_search.search import AllocationStudy, Rule, Trial
from tstitch_search.search.encoding import StickBreaking
from tstitch_search.search.given import GivenSampler
from tstitch_search.search.study import SamplerName
from tstitch_search.search_space import SearchSpace

SAMPLERS: tuple[SamplerName, ...] = ("enumerate", "random", "tpe", "nsga2")
THREE = SearchSpace(("S", "B", "XL"), (("S", "B", "XL"),), 6, 2)  # 10 allocations
MANY = SearchSpace(("S", "B", "XL"), (("S", "B", "XL"),), 20, 1)  # 231 allocations
ANY_ORDER = SearchSpace(("S", "XL"), (("S", "XL"), ("XL", "S")), 4, 1)  # 8 allocations
ALONE = SearchSpace(("S",), (("S",),), 4, 1)
WEIGHT = {"S": 1, "B": 3, "XL": 10}


def latency_s(allocation: Allocation) -> float:
    return 0.5 + sum(n * WEIGHT[name] for name, n in allocation.steps.items())


def fid(allocation: Allocation) -> float:
    """Late steps want the large denoiser: a front with a bend."""
    return sum((i + 1) ** 2 / WEIGHT[name] for i, name in enumerate(allocation.by_step))


def open_study(
    folder: Path,
    sampler: SamplerName,
    space: SearchSpace = THREE,
    seed: int = 0,
    candidates: Iterable[Allocation] | None = None,
) -> AllocationStudy:
    rule = Rule(sampler, seed, tuple(space if candidates is None else candidates))
    return AllocationStudy(folder / "study.db", "test", space, rule)


def answer(study: AllocationStudy, trial: Trial) -> None:
    study.tell(trial, latency_s(trial.allocation), fid(trial.allocation), fid_se=0.5, n_images=100)


def ask_all(study: AllocationStudy, at_most: int = 100) -> list[Allocation]:
    """Ask and answer until the study has no question left."""
    asked = []
    while len(asked) < at_most and (trial := study.ask()):
        asked.append(trial.allocation)
        answer(study, trial)
    return asked


def in_optuna(folder: Path) -> optuna.Study:
    """The study as optuna-dashboard and a user's notebook see it."""
    return optuna.load_study(study_name="test", storage=f"sqlite:///{folder / 'study.db'}")


@pytest.mark.parametrize(
    ("sampler", "space"),
    [
        *((s, ALONE) for s in SAMPLERS),
        ("enumerate", THREE),
        ("random", ANY_ORDER),
        ("tpe", THREE),
        ("nsga2", ANY_ORDER),
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


def test_nothing_is_asked_twice_while_several_are_under_way_and_some_fail(tmp_path):
    study = open_study(tmp_path, "tpe")
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


def questions(
    folder: Path, sampler: SamplerName, n: int, seed: int = 3, taste: int = 1, reopen_every: int = 100
) -> list[Allocation]:
    """The first `n` questions with three under way, as in a run; every so many the database is opened anew.

    FIDs are told multiplied by `taste`.
    """
    study, asked = open_study(folder, sampler, MANY, seed), []
    live: list[Trial] = []
    while len(asked) < n:
        if len(live) == 3:
            oldest = live.pop(0)
            study.tell(oldest, latency_s(oldest.allocation), taste * fid(oldest.allocation), 0.5, 100)
        elif trial := study.ask():
            live.append(trial)
            asked.append(trial.allocation)
        if len(asked) % reopen_every == 0:
            study = open_study(folder, sampler, MANY, seed)
            live = study.reopen()
    return asked


@pytest.mark.parametrize(("sampler", "n_questions"), [("enumerate", 6), ("tpe", 14), ("nsga2", 17)])
def test_questions_follow_from_seed_and_history_also_when_the_asking_is_interrupted(tmp_path, sampler, n_questions):
    (tmp_path / "reopened").mkdir()
    in_one_go = questions(tmp_path, sampler, n_questions)
    assert questions(tmp_path / "reopened", sampler, n_questions, reopen_every=4) == in_one_go


@pytest.mark.parametrize("sampler", ["enumerate", "random"])
def test_another_seed_asks_other_questions(tmp_path, sampler):
    (tmp_path / "other").mkdir()
    assert questions(tmp_path, sampler, 6) != questions(tmp_path / "other", sampler, 6, seed=4)


def test_other_answers_lead_to_other_questions(tmp_path):
    (tmp_path / "other").mkdir()
    assert questions(tmp_path, "tpe", 14) != questions(tmp_path / "other", "tpe", 14, taste=-1)


def test_trials_under_way_are_adopted_after_a_crash_and_none_stays_running(tmp_path):
    before = open_study(tmp_path, "tpe")
    lost = [before.ask() for _ in range(6)]
    assert lost[0] is not None
    answer(before, lost[0])

    after = open_study(tmp_path, "tpe")
    adopted = after.reopen()
    assert adopted == lost[1:]
    for trial in adopted:
        answer(after, trial)
    states = [t.state for t in in_optuna(tmp_path).trials]
    assert TrialState.RUNNING not in states
    assert {states[trial.number] for trial in adopted} == {TrialState.COMPLETE}
    assert after.allocations == [trial.allocation for trial in lost if trial]
    assert set(ask_all(after)).isdisjoint(after.allocations[:6])


def test_trial_that_died_inside_the_sampler_is_failed_and_its_baseline_asked_again(tmp_path):
    open_study(tmp_path, "tpe")
    in_optuna(tmp_path).ask()  # created, no parameter drawn: what a kill -9 leaves
    study = open_study(tmp_path, "tpe")
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
        optuna_study.sampler = GivenSampler(encoding.encode(allocation), optuna.samplers.RandomSampler())
        optuna_study.ask(encoding.distributions)

    after = open_study(tmp_path, "random", candidates=THREE.baselines())
    assert after.reopen() == []
    _, repeat, outside = in_optuna(tmp_path).trials
    assert (repeat.state, repeat.values) == (TrialState.COMPLETE, [latency_s(first.allocation), fid(first.allocation)])
    assert outside.state == TrialState.FAIL
    assert after.allocations == [first.allocation]
    assert set(ask_all(after)) == set(THREE.baselines()) - {first.allocation}


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
    assert rule.user_attrs == {"allocation": "S*2-XL*4", "cut_1": 2, "cut_2": 2, "fid_se": 0.5, "n_images": 100}
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
    assert "deleting it is safe" in caught.value.hint
