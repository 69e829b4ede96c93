"""How long the search thinks about one question, and in how much memory; the goals are 1 s and 1 GB.

On 176,851 allocations (four denoisers, single steps), and in a space of 9.4 million that is only sampled. The measured
ones are drawn at random and nearly half of them lie on the front, which is a hard case.

`OMP_NUM_THREADS=1 uv run python benchmarks/decision.py` writes benchmarks/results/decision.json.
"""

import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from statistics import median
from time import process_time

import numpy as np

from tstitch_search.allocation import Allocation
from tstitch_search.config.models import SpaceConfig
from tstitch_search.search.gaussian_process import forget_fits
from tstitch_search.search.posterior import Candidates, QualityScale
from tstitch_search.search.proposals import near_front
from tstitch_search.search.racing import Measured, RaceRule, RaceState, next_action
from tstitch_search.search_space import SearchSpace
from tstitch_search.space_sampling import moves
from tstitch_search.study_run.folder import environment

SIX = {"S": 0.1, "S-free": 0.06, "B": 0.25, "B-free": 0.15, "XL": 1.0, "XL-free": 0.55}
SCALE = QualityScale(True, "minimize")
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
        """Processor seconds that it takes to say what is next."""
        forget_fits()
        began = process_time()
        next_action(self.candidates, self.state, SCALE, RaceRule(8, 0.0))
        return process_time() - began


@dataclass(frozen=True)
class SampledQuestion:
    """The same in a space that is only sampled: the candidates next to the front are found first."""

    space: SearchSpace
    candidates: Candidates
    state: RaceState

    def seconds(self) -> float:
        """Processor seconds that both take."""
        forget_fits()
        began = process_time()
        told = self.state.measured
        near = near_front(self.candidates, told, SCALE, lambda a: filter(self.space.__contains__, moves(self.space, a)))
        next_action(near, self.state, SCALE, RaceRule(8, 0.0))
        return process_time() - began


def sampled() -> tuple[SearchSpace, Candidates]:
    """Six members, any sequence with three switches, single steps: millions of allocations."""
    members = [{"name": name, "weights": name} for name in SIX]
    described = {"name": "six", "family": "dit", "pipeline": ".", "denoisers": members, "n_steps": 44, "grid": 1}
    space = SearchSpace.from_config(SpaceConfig.model_validate({**described, "orders": "any", "max_switches": 3}))
    seconds = {a: sum(SIX[s.denoiser] * s.n_steps for s in a.segments) for a in space.allocations}
    first = list(dict.fromkeys([*space.controls(), *space.baselines()]))
    return space, Candidates(space.allocations, first, Times(seconds), space.denoisers)


class Times(dict[Allocation, float]):
    """Seconds of any allocation of the six."""

    def __missing__(self, allocation: Allocation) -> float:
        return sum(SIX[s.denoiser] * s.n_steps for s in allocation.segments)


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


def sampled_question() -> dict[str, object]:
    """Processor seconds of a question in a space of millions, and the memory of this process in MB."""
    space, of = sampled()
    seconds = {
        n: [SampledQuestion(space, of, RaceState(measured(of, n))).seconds() for _ in range(N_REPEATS)]
        for n in OBSERVED
    }
    for n, times in seconds.items():
        print(f"{len(space):,} allocations, {n} measured: {median(times):.2f} s")
    return {"n_allocations": len(space), "processor_seconds": seconds, "peak_mb": peak_mb()}


def peak_mb() -> float:
    """The most memory that this process has had."""
    return getrusage(RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def main() -> None:
    large = sampled_question()
    of = candidates()
    seconds = {n: [Question(of, RaceState(measured(of, n))).seconds() for _ in range(N_REPEATS)] for n in OBSERVED}
    middle = {n: median(times) for n, times in seconds.items()}
    crossed = [(a, b) for a, b in pairwise(OBSERVED) if middle[a] <= GOAL_S < middle[b]]
    for n, value in middle.items():
        print(f"{n} allocations measured: {value:.2f} s")
    found = {"n_allocations": len(of.allocations), "goal_s": GOAL_S, "seconds": seconds, "goal_missed_between": crossed}
    found |= {"peak_mb": peak_mb(), "sampled": large, "environment": environment()}
    RESULT.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
