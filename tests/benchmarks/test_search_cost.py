"""The yardstick of the search benchmark measures what it says, on a small landscape of known quality."""

import csv
import sys
from math import log
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from landscapes import Landscape, recorded, refined
from search_cost import Curve, entry, ratio, run
from search_methods import Ours, flat, independent, stock

from tstitch_search.allocation import Allocation
from tstitch_search.search_space import SearchSpace

SPACE = SearchSpace(("S", "B", "XL"), (("S", "B", "XL"),), 10, 2)
STEP_S = {"S": 0.1, "B": 0.3, "XL": 1.0}
WEAKNESS = {"S": 1.0, "B": 0.4, "XL": 0.1}
N, D = 400, 4


def shift(allocation: Allocation) -> float:
    weights = np.arange(1, 11) / 55
    return float(weights @ [WEAKNESS[name] for name in allocation.by_step])


@pytest.fixture(scope="module")
def land(tmp_path_factory: pytest.TempPathFactory) -> Landscape:
    """21 allocations: Gaussian features that share their noise, moved off the reference by what each lacks."""
    folder = tmp_path_factory.mktemp("landscape")
    noise = np.random.default_rng(0).normal(size=(N, D)).astype(np.float32)
    with (folder / "times.csv").open("w") as stream:
        writer = csv.writer(stream)
        writer.writerow(["allocation", "latency_s"])
        for a in SPACE:
            np.save(folder / f"{a.file_name}.npy", noise + np.float32(shift(a)))
            writer.writerow([str(a), 0.2 + sum(n * STEP_S[name] for name, n in a.steps.items())])
    np.savez(folder / "reference.npz", mu=np.zeros(D), sigma=np.eye(D), n_images=1000)
    return recorded(folder, folder / "times.csv", "small")


def test_the_space_is_told_from_the_table(land: Landscape) -> None:
    assert land.space.denoisers == ("S", "B", "XL")
    assert set(land.latency_s) == set(SPACE)
    assert land.n_images == N


def test_the_true_table_has_no_regret_and_all_of_the_hypervolume(land: Landscape) -> None:
    assert land.regret(land.truth) == 0
    assert land.hypervolume(land.truth) == pytest.approx(1)


def test_regret_is_the_mean_excess_of_log_fid_over_budgets(land: Landscape) -> None:
    """A table of the fastest allocation alone: the second way adds up the steps of the staircase."""
    fastest = min(land.truth, key=lambda a: land.latency_s[a])
    times = sorted(land.latency_s.values())
    budgets = np.linspace(times[0], land.latency_s[land.space.anchor], 400)
    excess = [
        log(land.truth[fastest] / min(v for a, v in land.truth.items() if land.latency_s[a] <= b)) for b in budgets
    ]
    assert land.regret({fastest: 1.0}) == pytest.approx(np.mean(excess))


def test_between_recorded_allocations_fid_and_time_lie_between_theirs(land: Landscape, tmp_path: Path) -> None:
    fine = refined(land, 50, tmp_path)
    assert len(fine.latency_s) == 51 * 52 // 2
    for a, value in land.truth.items():
        finer = Allocation.of((s.denoiser, 5 * s.n_steps) for s in a.segments)
        assert fine.truth[finer] == pytest.approx(value)
        assert fine.latency_s[finer] == pytest.approx(land.latency_s[a])
    ends = [land.truth[Allocation.parse(text)] for text in ("XL*10", "S*2-XL*8")]
    assert min(ends) < fine.truth[Allocation.parse("S*5-XL*45")] < max(ends)
    assert refined(land, 50, tmp_path).truth == fine.truth


def test_enumeration_costs_its_share_of_3000_images(land: Landscape) -> None:
    curve = run(land, flat(60), seed=0)
    assert curve.cost == [pytest.approx(60 / 3000)]
    assert run(land, independent(60), seed=0).cost == curve.cost


@pytest.mark.parametrize("method", [Ours(20, 4, 100, 0.01), Ours(40, 1, 100, 0.01), stock("tpe", 8, 40)])
def test_a_search_gets_dearer_as_it_goes_on_and_ends_better_than_it_began(land: Landscape, method) -> None:
    curve = run(land, method, seed=1)
    assert curve.cost == sorted(curve.cost)
    assert curve.regret[-1] <= curve.regret[0]


def test_the_cost_of_the_goal_is_where_the_regret_stays_within_it() -> None:
    assert Curve([1.0, 2.0, 3.0, 4.0], [0.005, 0.02, 0.009, 0.001], 1.0, []).cost_of_goal == 3.0
    assert Curve([1.0, 2.0], [0.005, 0.02], 1.0, []).cost_of_goal is None
    made = entry("x", "y", [Curve([0.01, 0.02], [0.02, 0.005], 1.0, [50]), Curve([0.03], [0.002], 1.0, [100])])
    assert made.cost_of_goal == pytest.approx(0.03, rel=0.05)
    assert made.images == {"50": 0.5, "100": 0.5}


def test_a_rival_that_misses_the_goal_is_charged_less_than_we_are_when_we_do() -> None:
    won = [Curve([0.01], [0.001], 1.0, [])] * 3
    missed = [Curve([0.02], [0.5], 1.0, [])] * 3
    assert ratio(won, missed)["ratio"] == pytest.approx(0.5)
    assert ratio(missed, won)["ratio"] == pytest.approx(100)
