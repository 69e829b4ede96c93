"""The front against a brute force and against Optuna, the hypervolume against closed forms and published numbers."""

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tstitch_search.pareto import Point, dominates, hypervolume, knee, pareto_front

PAPER = json.loads((Path(__file__).parent / "golden" / "tstitch_paper.json").read_text())
REFERENCE = (10.0, 10.0)

coarse = st.integers(0, 12).map(float)  # many ties
fine = st.floats(0, 12)
points = st.lists(st.tuples(coarse, coarse) | st.tuples(fine, fine), max_size=25)


def values(found: Sequence[int], among: Sequence[Point]) -> list[Point]:
    return [among[i] for i in found]


def brute_force_front(among: Sequence[Point]) -> set[Point]:
    """Every point that no other one beats, straight from the definition."""
    return {p for p in among if not any(q[0] <= p[0] and q[1] <= p[1] and (q[0] < p[0] or q[1] < p[1]) for q in among)}


def brute_force_area(among: Sequence[Point], reference: Point) -> float:
    """The dominated area, summed over the cells of the grid that the coordinates make."""
    xs = sorted({x for x, _ in among if x < reference[0]} | {reference[0]})
    ys = sorted({y for _, y in among if y < reference[1]} | {reference[1]})
    cells = [(x, y, nx - x, ny - y) for x, nx in pairwise(xs) for y, ny in pairwise(ys)]
    return sum(w * h for x, y, w, h in cells if any(p[0] <= x and p[1] <= y for p in among))


def published(name: str) -> list[Point]:
    return list(zip(PAPER[name]["time_s"], PAPER[name]["fid"], strict=True))


@given(points)
def test_front_is_the_brute_force_front_sorted_by_time_each_value_once(among):
    front = values(pareto_front(among), among)
    assert front == sorted(brute_force_front(among))


@given(points)
def test_nobody_on_the_front_is_dominated_and_everybody_else_is_or_equals_a_member(among):
    front = values(pareto_front(among), among)
    assert not any(dominates(a, b) for a in among for b in front)
    assert all(any(dominates(a, b) or a == b for a in front) for b in among)


@given(points, st.randoms(use_true_random=False))
def test_order_of_the_points_does_not_matter(among, random):
    shuffled = random.sample(among, len(among))
    assert values(pareto_front(shuffled), shuffled) == values(pareto_front(among), among)


@given(points)
def test_front_of_the_front_is_itself(among):
    front = values(pareto_front(among), among)
    assert pareto_front(front) == list(range(len(front)))


@given(st.lists(st.tuples(coarse, coarse), max_size=25))
def test_doubling_an_axis_does_not_change_who_is_on_the_front(among):
    assert pareto_front([(2 * x, y) for x, y in among]) == pareto_front(among)


def test_of_equal_points_the_first_stands_for_all():
    assert pareto_front([(2, 2), (1, 1), (1, 1)]) == [1]


@settings(max_examples=15)
@given(st.lists(st.tuples(coarse, coarse), min_size=1, max_size=15))
def test_front_is_what_optuna_calls_the_best_trials(among):
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(directions=["minimize", "minimize"])
    study.add_trials([optuna.create_trial(values=list(p)) for p in among])
    best = {tuple(t.values) for t in study.best_trials}
    assert set(values(pareto_front(among), among)) == best


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("of", [pareto_front, knee, lambda p: hypervolume(p, REFERENCE)])
@pytest.mark.parametrize("axis", [0, 1])
def test_values_that_are_not_finite_are_refused(bad, of, axis):
    with pytest.raises(ValueError, match="finite"):
        of([(1.0, 2.0), (bad, 3.0) if axis == 0 else (3.0, bad)])


@pytest.mark.parametrize(
    ("among", "area"),
    [
        ([], 0),
        ([(4, 6)], 6 * 4),
        ([(4, 6), (4, 6)], 6 * 4),
        ([(2, 8), (6, 3)], 8 * 2 + 4 * 5),
        ([(10, 0)], 0),  # on the edge
        ([(11, -5), (-5, 11)], 0),  # outlying: better than the worst corner in one objective only
        ([(k, 9 - k) for k in range(10)], 55),  # a staircase: 1 + 2 + ... + 10
    ],
)
def test_hypervolume_equals_the_closed_form(among, area):
    assert hypervolume(among, REFERENCE) == area


@given(st.lists(st.tuples(coarse, coarse), max_size=12))
def test_hypervolume_equals_the_sum_over_grid_cells(among):
    assert hypervolume(among, REFERENCE) == brute_force_area(among, REFERENCE)


@given(points, st.tuples(fine, fine))
def test_hypervolume_never_falls_when_a_point_is_added(among, added):
    assert hypervolume([*among, added], REFERENCE) >= hypervolume(among, REFERENCE) - 1e-9


@given(points)
def test_hypervolume_comes_from_the_front_alone(among):
    front = values(pareto_front(among), among)
    assert hypervolume(among, REFERENCE) == pytest.approx(hypervolume(front, REFERENCE))


@pytest.mark.parametrize("name", ["ldm", "dit_s_xl"])
def test_published_front_is_exactly_the_fractions_from_40_percent_up(name):
    fractions = [PAPER[name]["small_fraction"][i] for i in pareto_front(published(name))]
    assert fractions == [1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4]  # by time: the fastest first


def test_published_ldm_sweep_has_the_hypervolume_worked_out_by_hand():
    assert hypervolume(published("ldm"), (7.1, 40.92)) == pytest.approx(70.507, abs=5e-4)


def test_knee_is_the_front_point_farthest_below_the_line_between_its_ends():
    among = [(0, 10), (10, 0), (1, 6), (2, 2), (6, 1), (9, 9)]  # below the line x + y = 10 by 3, 6 and 3
    assert knee(among) == 3


def test_knee_does_not_depend_on_units():
    assert knee(published("dit_s_xl")) == knee([(1000 * x, y / 100) for x, y in published("dit_s_xl")])


@pytest.mark.parametrize(
    "among",
    [
        [],
        [(1, 1)],
        [(0, 10), (10, 0)],
        [(0, 10), (5, 5), (10, 0)],
        [(0, 10), (6, 6), (10, 0)],
        [(1, 1), (1, 1), (1, 1)],
    ],
    ids=["empty", "one", "two", "on the line", "above the line", "equal"],
)
def test_front_that_does_not_bend_has_no_knee(among):
    assert knee(among) is None
