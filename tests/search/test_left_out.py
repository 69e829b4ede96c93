"""The model's intervals hold what they say: allocations of a recorded landscape, left out and predicted."""

import csv
from math import log
from pathlib import Path

import numpy as np
import pytest

from tstitch_search.allocation import Allocation
from tstitch_search.search.embedding import Embedding
from tstitch_search.search.gaussian_process import Observations, fit, widening_of

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
ROWS = csv.DictReader((RESULTS / "guided_landscape.csv").read_text().splitlines())
LOG_FID = {Allocation.parse(row["allocation"]): log(float(row["fid"])) for row in ROWS}
NAMES, NOISE, DRAWS = ("B", "Bg", "XL", "XLg"), 0.01, 8


def deviations(n: int) -> np.ndarray:
    """Errors of the predictions in their own standard deviations, over draws of `n` measured allocations."""
    every = list(LOG_FID)
    alone, embedding = [a for a in every if len(a.segments) == 1], Embedding.for_set(NAMES, every)
    found = []
    for seed in range(DRAWS):
        draw = np.random.default_rng(seed)
        known = list(dict.fromkeys([*alone, *(every[i] for i in draw.permutation(len(every)))]))[:n]
        left_out = [a for a in every if a not in known]
        y = np.array([LOG_FID[a] for a in known]) + NOISE * draw.normal(size=n)
        process = fit(Observations(embedding.of(known), y, np.full(n, NOISE**2), embedding.groups))
        mean, sd = process.posterior(embedding.of(left_out))
        found.append((np.array([LOG_FID[a] for a in left_out]) - mean) / sd)
    return np.concatenate(found)


@pytest.mark.parametrize("n", [15, 26])
def test_intervals_of_95_and_80_per_cent_hold_as_many_of_the_values_that_were_left_out(n: int) -> None:
    away = np.abs(deviations(n))
    assert 0.93 <= np.mean(away < 1.96) <= 0.99
    assert 0.75 <= np.mean(away < 1.2816) <= 0.92


def test_few_observations_widen_and_many_do_not() -> None:
    def seen(n: int) -> Observations:
        return Observations(np.zeros((n, 2)), np.zeros(n), np.ones(n), np.array([0, 1]))

    assert widening_of(seen(4)) == 2
    assert widening_of(seen(8)) == pytest.approx(2**0.5)
    assert widening_of(seen(400)) == pytest.approx(1, abs=0.01)
