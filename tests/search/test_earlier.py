"""An earlier study of like members, on a recorded landscape: worth much where alike, harmless where it misleads."""

import csv
from collections.abc import Callable
from math import exp, log, sqrt
from pathlib import Path

import numpy as np
import pytest

from tstitch_search.allocation import Allocation
from tstitch_search.search.earlier import Earlier, Trend
from tstitch_search.search.gaussian_process import fit
from tstitch_search.search.posterior import Candidates, QualityScale, Told, observations
from tstitch_search.search.racing import Measured, RaceRule, RaceState, Stop, next_action
from tstitch_search.search_space import SearchSpace

RECORDED = Path(__file__).parents[2] / "benchmarks" / "landscapes" / "fashion_dit_s_b_xl_66.csv"
ROWS = list(csv.DictReader(RECORDED.read_text().splitlines()))
FID = {Allocation.parse(row["allocation"]): float(row["fid"]) for row in ROWS}
SECONDS = {Allocation.parse(row["allocation"]): float(row["latency_s"]) for row in ROWS}
SPACE = SearchSpace(("S", "B", "XL"), (("S", "B", "XL"),), 20, 2)
SCALE = QualityScale(True, "minimize")
NOISE, CHUNKS, TOLERANCE = 0.04, 8, 0.001


def alike() -> Earlier:
    """Half the steps, another level and steepness, every third allocation, with noise."""
    draw = np.random.default_rng(5)
    halved = {Allocation.of((s.denoiser, s.n_steps // 2) for s in a.segments): a for a in list(FID)[::3]}
    return Earlier({h: (1.2 * log(FID[a]) + 0.5 + 0.01 * draw.normal(), 0.01, 1000) for h, a in halved.items()})


def reversed_order() -> Earlier:
    """The best allocation of the landscape has the worst value, and so on."""
    best_first = sorted(FID, key=lambda a: FID[a])
    worst_first = [log(FID[a]) for a in reversed(best_first)]
    return Earlier({a: (y, 0.01, 1000) for a, y in zip(best_first, worst_first, strict=True)})


def shuffled() -> Earlier:
    """Values that have nothing to do with where they are."""
    known = list(FID)[::2]
    drawn = np.random.default_rng(3).permutation(len(known))
    return Earlier({a: (log(FID[known[i]]), 0.01, 1000) for a, i in zip(known, drawn, strict=True)})


def candidates(*earlier: Earlier) -> Candidates:
    space = [a for a in SPACE.allocations if a in FID]
    first = [a for a in dict.fromkeys([*SPACE.controls(), *SPACE.baselines()]) if a in FID]
    return Candidates(space, first, SECONDS, SPACE.denoisers, None, earlier)


def race(known: Candidates, seed: int) -> tuple[float, float]:
    """What a race costs beside its controls, in seconds of a batch, and the mean excess of log FID of its front."""
    common = np.random.default_rng([seed, 0]).normal(size=CHUNKS)
    own = {a: np.random.default_rng([seed, i + 1]).normal(size=CHUNKS) for i, a in enumerate(FID)}
    measured = {a: Measured(a, SECONDS[a], FID[a], 0.005 * FID[a], CHUNKS) for a in SPACE.controls()}
    cost, rule = 0.0, RaceRule(CHUNKS, TOLERANCE)
    while not isinstance(action := next_action(known, RaceState(tuple(measured.values())), SCALE, rule), Stop):
        a = action.allocation
        n = measured[a].n_chunks + 1 if a in measured else 1
        value = FID[a] * exp(NOISE * (0.8 * common + 0.6 * own[a])[:n].mean())
        measured[a] = Measured(a, SECONDS[a], value, value * NOISE / sqrt(n), n, tuple(0.8 * common + 0.6 * own[a]))
        cost += SECONDS[a]
    mean, _ = fit(observations(known, list(measured.values()), SCALE)).posterior(known.x)
    return cost, regret(known, mean)


def regret(known: Candidates, mean: np.ndarray) -> float:
    """Over the budgets that are the candidates' own times: log FID of the one believed best, over that of the best."""
    by_time = np.argsort(known.latency_s, kind="stable")
    true = np.array([log(FID[known.allocations[i]]) for i in by_time])
    believed = np.array([int(np.argmin(mean[by_time[: k + 1]])) for k in range(len(by_time))])
    return float(np.mean(true[believed] - np.minimum.accumulate(true)))


def test_a_trend_is_taken_up_whatever_its_level_steepness_and_number_of_steps() -> None:
    known = candidates(alike())
    told = [Told(a, SECONDS[a], FID[a], 0.01 * FID[a]) for a in known.baselines]
    process = fit(observations(known, told, SCALE))
    plain = fit(observations(candidates(), told, SCALE))
    true = np.array([log(FID[a]) for a in known.allocations])
    errors = [p.posterior(k.x)[0] - true for p, k in ((process, known), (plain, candidates()))]
    assert process.seen.follows_trends
    assert np.sqrt(np.mean(errors[0] ** 2)) < 0.6 * np.sqrt(np.mean(errors[1] ** 2))


def test_what_misleads_is_not_followed_once_a_dozen_values_are_known() -> None:
    known = candidates(shuffled())
    told = [Told(a, SECONDS[a], FID[a], 0.01 * FID[a]) for a in [*known.baselines, *known.allocations[::9]]]
    assert not fit(observations(known, told, SCALE)).seen.follows_trends


def test_values_at_fewer_images_have_a_level_of_their_own() -> None:
    known = candidates()
    mixed = Earlier(
        {a: (log(FID[a]) + (0.3 if i % 2 else 0.0), 0.005, 500 if i % 2 else 5000) for i, a in enumerate(FID)}
    )
    true = np.array([log(FID[a]) for a in known.allocations])
    assert np.corrcoef(Trend(mixed, known.embedding).at(known.allocations), true)[0, 1] > 0.99


@pytest.mark.slow
@pytest.mark.parametrize(("table", "at_most"), [(alike, 0.5), (reversed_order, 1.1), (shuffled, 1.1)])
def test_half_the_cost_where_alike_and_a_tenth_more_where_misleading(
    table: Callable[[], Earlier], at_most: float
) -> None:
    plain = [race(candidates(), seed) for seed in range(6)]
    warm = [race(candidates(table()), seed) for seed in range(6)]
    assert np.mean([c for c, _ in warm]) <= at_most * np.mean([c for c, _ in plain])
    assert np.mean([r for _, r in warm]) <= np.mean([r for _, r in plain]) + 0.002
