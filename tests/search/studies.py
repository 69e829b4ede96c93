"""What the tests of the study share: small spaces, known answers, and the study as Optuna sees it."""

from collections.abc import Iterable
from pathlib import Path

import optuna

from tstitch_search.allocation import Allocation
from tstitch_search.search import AllocationStudy, Rule, Trial
from tstitch_search.search.rule import SamplerName
from tstitch_search.search_space import SearchSpace

SAMPLERS: tuple[SamplerName, ...] = ("known_latency", "enumerate", "random", "tpe", "nsga2")
THREE = SearchSpace(("S", "B", "XL"), (("S", "B", "XL"),), 6, 2)  # 10 allocations
MANY = SearchSpace(("S", "B", "XL"), (("S", "B", "XL"),), 20, 1)  # 231 allocations
ANY_ORDER = SearchSpace(("S", "XL"), (("S", "XL"), ("XL", "S")), 4, 1)  # 8 allocations
ALONE = SearchSpace(("S",), (("S",),), 4, 1)
COUNTS = SearchSpace(
    ("S", "XL"), (("S", "XL"),), 8, 2, fewer_counts=(4,), fewer_steps=(4, 6), rules=("interleaving",)
)  # 5 allocations of 8 steps, 5 of 4, and 3 baselines
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
    chosen = tuple(space if candidates is None else candidates)
    rule = Rule(sampler, seed, chosen, latency_s={a: latency_s(a) for a in chosen})
    return AllocationStudy(folder / "study.db", "test", space, rule)


def answer(study: AllocationStudy, trial: Trial) -> None:
    study.tell(trial, latency_s(trial.allocation), fid(trial.allocation), quality_se=0.5, n_images=100)


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


def questions(
    folder: Path, sampler: SamplerName, n: int, seed: int = 3, taste: int = 1, reopen_every: int = 100
) -> list[Allocation]:
    """The first `n` questions with three under way, as in a run; every so many the database is opened anew.

    FIDs are told to the power of `taste`: -1 turns the order round.
    """
    study, asked = open_study(folder, sampler, MANY, seed), []
    live: list[Trial] = []
    while len(asked) < n:
        if len(live) == 3:
            oldest = live.pop(0)
            study.tell(oldest, latency_s(oldest.allocation), fid(oldest.allocation) ** taste, 0.5, 100)
        elif trial := study.ask():
            live.append(trial)
            asked.append(trial.allocation)
        if len(asked) % reopen_every == 0:
            study = open_study(folder, sampler, MANY, seed)
            live = study.reopen()
    return asked
