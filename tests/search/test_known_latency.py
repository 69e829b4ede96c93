"""The sampler that knows the time: what it asks first and next, what it says, and that it needs fewer questions."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState
from search.studies import ANY_ORDER, MANY, THREE, answer, ask_all, fid, in_optuna, latency_s, open_study

from tstitch_search.allocation import Allocation
from tstitch_search.pareto import hypervolume
from tstitch_search.search import AllocationStudy, Rule
from tstitch_search.search.encoding import CutPoints
from tstitch_search.search.known_latency import AllocationSampler
from tstitch_search.search.posterior import (
    Candidates,
    History,
    QualityScale,
    Told,
    posterior,
    reference_point,
    spread_out,
)

FID = QualityScale(relative=True, direction="minimize")
LATENCIES = {a: latency_s(a) for a in MANY}
CANDIDATES = Candidates(MANY.allocations, MANY.baselines(), LATENCIES, MANY.denoisers)
TOLD = tuple(
    Told(a, latency_s(a), fid(a), 0.01 * fid(a)) for a in [*MANY.baselines(), Allocation.parse("S*8-B*6-XL*6")]
)


def test_baselines_come_first_then_the_unasked_candidate_of_highest_gain(tmp_path):
    study = open_study(tmp_path, "known_latency", MANY)
    assert ask_all(study, at_most=4) == MANY.baselines()
    told = tuple(Told(a, latency_s(a), fid(a), 0.5) for a in MANY.baselines())
    expected = posterior(CANDIDATES, History(told), FID)
    trial = study.ask()
    assert expected
    assert trial
    assert trial.allocation == MANY.allocations[int(np.argmax(expected.ehvi))]
    assert study.expected_gain() <= expected.expected_gain


def test_while_baselines_are_under_way_it_asks_what_is_farthest_from_them():
    history = History(under_way=tuple(MANY.baselines()))
    assert posterior(CANDIDATES, history, FID) is None
    first = MANY.allocations[next(spread_out(CANDIDATES, history))]
    second = MANY.allocations[next(spread_out(CANDIDATES, History(under_way=(*MANY.baselines(), first))))]
    assert first not in MANY.baselines()
    assert second not in (first, *MANY.baselines())
    between = np.abs(np.diff(CANDIDATES.embedding.of([first, second]), axis=0)).max()
    assert between > 0.2


def test_what_was_asked_has_no_gain_left_and_everything_else_is_predicted():
    gave_up = Allocation.parse("S*9-XL*11")
    expected = posterior(CANDIDATES, History(TOLD, failed=(gave_up,)), FID)
    assert expected
    asked = [MANY.allocations.index(a) for a in (*(t.allocation for t in TOLD), gave_up)]
    assert np.all(expected.ehvi[asked] == 0)
    assert np.count_nonzero(expected.ehvi) > 0.9 * (len(MANY) - len(asked))
    errors = expected.mean - [log_fid(a) for a in MANY]
    assert np.sqrt(np.mean(errors**2)) < 0.25 * np.std([log_fid(a) for a in MANY])


def test_a_trial_under_way_lowers_the_gain_of_its_neighbours_so_that_the_next_question_is_another_one():
    alone = posterior(CANDIDATES, History(TOLD), FID)
    assert alone
    best = int(np.argmax(alone.ehvi))
    after = posterior(CANDIDATES, History(TOLD, under_way=(MANY.allocations[best],)), FID)
    assert after
    near = np.abs(CANDIDATES.x - CANDIDATES.x[best]).max(axis=1) < 0.06
    assert after.ehvi[near].max() < 0.5 * alone.ehvi[near].max()
    np.testing.assert_allclose(after.mean, alone.mean, atol=1e-6)


def test_per_second_asks_for_more_gain_per_second_and_for_less_time():
    study = optuna.create_study(directions=["minimize", "minimize"])
    asked = {}
    for per_second in (False, True):
        sampler = AllocationSampler(CANDIDATES, CutPoints(MANY), "fid", FID, per_second)
        for t in () if study.trials else TOLD:
            distributions = CutPoints(MANY).distributions
            study.add_trial(
                optuna.trial.create_trial(
                    params=CutPoints(MANY).encode(t.allocation),
                    distributions=distributions,
                    values=[t.latency_s, t.quality],
                    user_attrs={"fid_se": t.quality_se},
                )
            )
        trial = optuna.create_trial(state=TrialState.RUNNING)
        trial.number = len(TOLD)
        asked[per_second] = CutPoints(MANY).decode(sampler.sample_relative(study, trial, {}))
    expected = posterior(CANDIDATES, History(TOLD), FID)
    assert expected
    assert asked[True] == MANY.allocations[int(np.argmax(expected.ehvi / CANDIDATES.latency_s))]
    assert latency_s(asked[True]) < latency_s(asked[False])


def test_decision_is_written_to_the_trial_with_its_prediction(tmp_path):
    study = open_study(tmp_path, "known_latency", MANY)
    ask_all(study, at_most=8)
    trials = in_optuna(tmp_path).trials
    assert trials[3].user_attrs.keys().isdisjoint({"predicted_fid", "predicted_fid_sd", "ehvi"})
    for t in trials[4:]:
        assert t.user_attrs["ehvi"] > 0
        assert t.user_attrs["predicted_fid_sd"] > 0
        assert t.user_attrs["predicted_fid"] == pytest.approx(
            fid(Allocation.parse(t.user_attrs["allocation"])), rel=0.5
        )
        assert t.params.keys() == {"cut_1", "cut_2"}


@pytest.mark.parametrize(
    ("scale", "value", "better"),
    [
        (FID, 20.0, 10.0),
        (QualityScale(relative=True, direction="maximize"), 5.0, 6.0),
        (QualityScale(relative=False, direction="minimize"), 0.001, -0.002),
        (QualityScale(relative=False, direction="maximize"), 0.3, 0.5),
    ],
)
def test_every_metric_is_modelled_lower_better_and_can_be_read_back(scale, value, better):
    y, se = scale.y(value, 0.1)
    assert scale.y(better, 0.1)[0] < y
    assert scale.value(y, se) == pytest.approx((value, 0.1))


def test_ratio_metric_that_is_not_positive_is_refused():
    with pytest.raises(ValueError, match="must be positive, got 0"):
        FID.y(0.0, 0.1)


def test_metric_to_be_maximised_leads_to_the_same_questions_as_its_negative(tmp_path):
    asked = []
    for sign, direction in ((1, "minimize"), (-1, "maximize")):
        rule = Rule(
            "known_latency", 0, tuple(MANY), "kid", direction, {a: latency_s(a) for a in MANY}, relative=False
        )  # fmt: skip
        study = AllocationStudy(tmp_path / f"{direction}.db", "test", MANY, rule)
        found = []
        while len(found) < 9 and (trial := study.ask()):
            found.append(trial.allocation)
            study.tell(trial, latency_s(trial.allocation), sign * (fid(trial.allocation) - 500), 1.0, 100)
        asked.append(found)
    assert asked[0] == asked[1]


def test_reference_point_stays_where_the_baselines_put_it():
    y = np.log([t.quality for t in TOLD])
    worse = Told(Allocation.parse("S*19-B*1"), 23.5, 5000.0, 1.0)
    corner = reference_point(CANDIDATES, TOLD, y)
    assert reference_point(CANDIDATES, (*TOLD, worse), np.append(y, np.log(5000))) == corner
    assert corner[0] > max(LATENCIES.values())
    assert corner[1] > y.max()


def test_expected_gain_falls_as_the_front_becomes_known_and_ends_at_nothing(tmp_path):
    study = open_study(tmp_path, "known_latency")
    gains = []
    while trial := study.ask():
        answer(study, trial)
        gains.append(study.expected_gain())
    baselines = len(THREE.baselines())
    assert gains[: baselines - 1] == [float("inf")] * (baselines - 1)
    assert gains[baselines - 1] > 0.001
    assert gains[-1] == 0


def test_expected_gain_is_known_whoever_proposes(tmp_path):
    study = open_study(tmp_path, "random", ANY_ORDER)
    ask_all(study, at_most=4)
    assert 0 < study.expected_gain() < 1


def test_no_trial_is_left_running_when_the_sampler_cannot_answer(tmp_path):
    study = open_study(tmp_path, "known_latency", MANY)
    for trial in [study.ask() for _ in MANY.baselines()]:
        assert trial
        study.tell(trial, latency_s(trial.allocation), -1.0, 0.5, 100)  # a FID below zero has no logarithm
    with pytest.raises(ValueError, match="must be positive"):
        study.ask()
    assert TrialState.RUNNING not in [t.state for t in in_optuna(tmp_path).trials]


def test_every_candidate_needs_a_time():
    with pytest.raises(ValueError, match="needs the time of every candidate"):
        Rule("known_latency", 0, tuple(THREE), latency_s={THREE.anchor: 1.0})


def test_what_lies_outside_a_narrowed_focus_still_teaches(tmp_path):
    wide = open_study(tmp_path, "known_latency", MANY)
    ask_all(wide, at_most=8)
    narrow = [*MANY.baselines(), *(a for a in MANY if "B" in a.steps and a not in MANY.baselines())]
    again = open_study(tmp_path, "known_latency", MANY, candidates=narrow)
    assert again.n_allocations == 8
    trial = again.ask()
    assert trial
    assert "B" in trial.allocation.steps


def share_of_hypervolume(asked: list[Allocation]) -> float:
    corner = (1.1 * max(LATENCIES.values()), 1.1 * max(map(log_fid, MANY)))
    of_all, of_asked = (hypervolume([(latency_s(a), log_fid(a)) for a in them], corner) for them in (MANY, asked))
    return of_asked / of_all


def log_fid(allocation: Allocation) -> float:
    return float(np.log(fid(allocation)))


def evaluations_to_reach(share: float, asked: Iterator[Allocation]) -> int:
    """How many allocations until those asked have this share of the whole space's true hypervolume."""
    so_far: list[Allocation] = []
    while share_of_hypervolume(so_far) < share:
        so_far.append(next(asked))
    return len(so_far)


def asked_by_sampler(folder: Path, seed: int) -> Iterator[Allocation]:
    """What the sampler asks when answers have errors of 5 %."""
    folder.mkdir()
    study, noise = open_study(folder, "known_latency", MANY, seed), np.random.default_rng(seed)
    while trial := study.ask():
        yield trial.allocation
        told = fid(trial.allocation) * float(np.exp(0.05 * noise.normal()))
        study.tell(trial, latency_s(trial.allocation), told, 0.05 * told, 100)


def asked_at_random(seed: int) -> Iterator[Allocation]:
    """The baselines, then the rest of the space in random order."""
    drawn = np.random.default_rng(seed).permutation(len(MANY))
    return iter(dict.fromkeys([*MANY.baselines(), *(MANY.allocations[i] for i in drawn)]))


def test_it_reaches_97_percent_of_the_hypervolume_in_half_the_evaluations_of_random_choice(tmp_path):
    known = [evaluations_to_reach(0.97, asked_by_sampler(tmp_path / str(seed), seed)) for seed in range(3)]
    random = [evaluations_to_reach(0.97, asked_at_random(seed)) for seed in range(20)]
    assert max(known) < min(random)
    assert 2 * np.mean(known) < np.mean(random)
