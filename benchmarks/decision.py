"""How long the search thinks about one question on 176,851 allocations (four denoisers, single steps); the goal is 1 s.

`OMP_NUM_THREADS=1 uv run python benchmarks/decision.py` writes benchmarks/results/decision.json.
"""

import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np

from tstitch_search.allocation import Allocation
from tstitch_search.search.posterior import Candidates, QualityScale
from tstitch_search.search.racing import Measured, RaceRule, RaceState, next_action
from tstitch_search.search_space import SearchSpace
from tstitch_search.study_run.folder import environment

STEP_S = {"S": 0.1, "B": 0.25, "L": 0.6, "XL": 1.0}
OBSERVED = (20, 50, 100, 150, 200, 300)
N_REPEATS, GOAL_S = 3, 1.0
RESULT = Path(__file__).parent / "results" / "decision.json"


@dataclass(frozen=True)
class Question:
    """A race with so many allocations measured, `state`, on a smooth quality with noise."""

    candidates: Candidates
    state: RaceState

    def seconds(self) -> float:
        """How long it takes to say what is next."""
        began = perf_counter()
        next_action(self.candidates, self.state, QualityScale(True, "minimize"), RaceRule(8, 0.0))
        return perf_counter() - began


def candidates() -> Candidates:
    """The whole space with its times."""
    names = tuple(STEP_S)
    space = SearchSpace(names, (names,), 100, 1)
    every = list(space)
    latency_s = {a: sum(STEP_S[s.denoiser] * s.n_steps for s in a.segments) for a in every}
    return Candidates(every, space.baselines(), latency_s, names)


def measured(of: Candidates, n: int) -> tuple[Measured, ...]:
    """The baselines and others drawn at random, `n` in all."""
    chance = np.random.default_rng(0)
    rows = chance.choice(len(of.allocations), n, replace=False)
    chosen = [*of.baselines, *(of.allocations[i] for i in rows if of.allocations[i] not in of.baselines)][:n]
    return tuple(_answer(a, of.seconds_of[a], chance) for a in chosen)


def _answer(allocation: Allocation, latency_s: float, chance: np.random.Generator) -> Measured:
    fid = 5 + 20 * np.exp(-latency_s / 25) + chance.normal(0, 0.1)
    return Measured(allocation, latency_s, float(fid), 0.1, int(chance.integers(1, 5)), tuple(chance.normal(0, 1, 10)))


def main() -> None:
    of = candidates()
    seconds = {n: [Question(of, RaceState(measured(of, n))).seconds() for _ in range(N_REPEATS)] for n in OBSERVED}
    middle = {n: median(times) for n, times in seconds.items()}
    crossed = [(a, b) for a, b in pairwise(OBSERVED) if middle[a] <= GOAL_S < middle[b]]
    for n, value in middle.items():
        print(f"{n} allocations measured: {value:.2f} s")
    found = {"n_allocations": len(of.allocations), "goal_s": GOAL_S, "seconds": seconds, "goal_missed_between": crossed}
    RESULT.write_text(json.dumps(found | {"environment": environment()}, indent=1) + "\n")


if __name__ == "__main__":
    main()
