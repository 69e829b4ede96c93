"""How good a table does a search give for what it costs? Writes results/search_cost.{json,md} and a drawing each.

    uv run python benchmarks/search_cost.py benchmarks/landscapes/*.csv [--refine 100] [--seeds 100] [--rival-seeds 20]

Every CSV is a table of times whose features lie in build/landscapes/NAME/recorded/ (benchmarks/make_landscape.py), or
in --features; `--refine N` takes the landscape in between, at single steps of N. A landscape of your own in the
recorded format is judged in the same way.

Every method sees the images in an order of its own seed, the same for all allocations, and returns a table: the front
of its own estimates, scored at the true FIDs, those of all images. Regret: mean excess of log FID of what the table
deploys over time budgets spread evenly between the fastest allocation and the largest denoiser. Cost: every denoiser
call, baselines and control images included, as a share of enumerating the grid of 0.1 on 3,000 images each. Ours is
charged up to where it stops by itself; rivals, each at its own best n, up to where they would best have stopped.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from landscapes import Landscape, recorded, refined
from scipy.stats import t as student
from search_cost_page import curves, page, picture
from search_methods import Method, Ours, flat, independent, stock

from tstitch_search.study_run.folder import environment

ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "results"
FLAT_N = (20, 30, 50, 75, 150, 300)
STOCK_TRIALS = {"tpe": 50, "nsga2": 50, "random": 50, "gp": 30}
STOCK_N = dict.fromkeys(STOCK_TRIALS, (75, 150, 300)) | {"gp": (150,)}  # gp takes a second for a question
CHUNK, MAX_CHUNKS, N_CONTROL, TOLERANCE = 50, 8, 400, 0.001
GOAL = 0.01
GRID = np.geomspace(0.002, 0.5, 160)  # costs at which curves are read
CONFIRMED, CONFIRM_N = 12, 1000
FEW = 3  # seeds by which a rival's best n is chosen
N_ABLATION = 30  # seeds of everything of ours but the default


@dataclass(frozen=True)
class Curve:
    """One run: what it had cost at each snapshot, the regret of its table then, and images made in the end."""

    cost: list[float]
    regret: list[float]
    hypervolume: float
    images: list[int]

    def at(self, grid: np.ndarray) -> np.ndarray:
        """Regret of the latest table at each cost; infinite before there is one."""
        i = np.searchsorted(self.cost, grid, side="right") - 1
        return np.where(i >= 0, np.array(self.regret)[np.maximum(i, 0)], np.inf)

    @property
    def cost_of_goal(self) -> float | None:
        """The cost from which on the regret is and stays within the goal."""
        within = np.array(self.regret) <= GOAL
        first = len(within) - int(np.argmin(within[::-1])) if not within.all() else 0
        return self.cost[first] if first < len(within) else None


@dataclass(frozen=True)
class Entry:
    """A method in one setting, over its seeds."""

    family: str
    setting: str
    seeds: int
    cost: float
    regret: float
    regret_se: float
    within: float
    hypervolume: float
    allocations: float
    images: dict[str, float]
    cost_of_goal: float | None
    mean_regret: list[float]


def run(land: Landscape, method: Method, seed: int) -> Curve:
    """One run of a method."""
    costs, regrets, last = [], [], None
    for last in method(land, seed):
        costs.append(land.cost(last.n_made))
        regrets.append(land.regret(last.estimates()))
    assert last is not None
    others = [n for a, n in last.n_made.items() if a not in land.controls]
    return Curve(costs, regrets, land.hypervolume(last.estimates()), others)


def entry(family: str, setting: str, curves: list[Curve]) -> Entry:
    """What the runs say together; `cost_of_goal`: where at least 90 % of them are within the goal, and stay."""
    final = np.array([c.regret[-1] for c in curves])
    by_cost = np.array([c.at(GRID) for c in curves])
    enough = (by_cost <= GOAL).mean(axis=0) >= 0.9
    reached = GRID[len(enough) - int(np.argmin(enough[::-1]))] if enough[-1] and not enough.all() else None
    images = [n for c in curves for n in c.images]
    return Entry(
        family,
        setting,
        len(curves),
        float(np.mean([c.cost[-1] for c in curves])),
        float(final.mean()),
        float(final.std(ddof=1) / np.sqrt(len(final))),
        float((final <= GOAL).mean()),
        float(np.mean([c.hypervolume for c in curves])),
        len(images) / len(curves),
        {str(n): images.count(n) / len(curves) for n in sorted(set(images))},
        reached,
        [float(v) for v in np.where(np.isinf(by_cost).any(axis=0), np.nan, by_cost.mean(axis=0))],
    )


def ours() -> Iterator[tuple[str, Ours]]:
    """The default, and what each part of it brings."""
    yield "racing, control variates", Ours(CHUNK, MAX_CHUNKS, N_CONTROL, TOLERANCE)
    yield "the same, tolerance 0.03 %", Ours(CHUNK, MAX_CHUNKS, N_CONTROL, TOLERANCE * 0.3)
    yield "the same, twice the control images", Ours(CHUNK, MAX_CHUNKS, 2 * N_CONTROL, TOLERANCE)
    yield "ablation: fixed n = 150, control variates", Ours(150, 1, N_CONTROL, TOLERANCE)
    yield "ablation: racing, paired differences only", Ours(CHUNK, MAX_CHUNKS, N_CONTROL, TOLERANCE, paired=True)
    yield "ablation: fixed n = 150, paired differences", Ours(150, 1, N_CONTROL, TOLERANCE, paired=True)


def evaluate(land: Landscape, seeds: int, rival_seeds: int, samplers: list[str], ablations: bool) -> dict:
    """Everything about one landscape."""
    print(f"{land.name}: {len(land.latency_s):,} allocations, {land.n_images:,} images", flush=True)
    entries: list[Entry] = []

    def add(family: str, setting: str, method: Method, n_seeds: int) -> list[Curve]:
        started = time.monotonic()
        curves = [run(land, method, seed) for seed in range(n_seeds)]
        entries.append(made := entry(family, setting, curves))
        print(
            f"  {family}, {setting}: cost {made.cost:.2%} regret {made.regret:.2%} within {made.within:.0%} "
            f"goal at {made.cost_of_goal and f'{made.cost_of_goal:.2%}'} ({time.monotonic() - started:.0f} s)",
            flush=True,
        )
        return curves

    default, *_ = [
        add("ours", setting, method, min(seeds, N_ABLATION) if i else seeds)
        for i, (setting, method) in enumerate(ours())
        if ablations or i == 0
    ]
    for n in FLAT_N:
        add("flat enumeration of the grid of 0.1, shared seeds", f"n = {n}", flat(n), seeds)
    for n in (n for n in (300, 3000) if n < land.n_images):
        add("enumeration, independent seeds", f"n = {n}", independent(n), min(seeds, rival_seeds))
    best_of: dict[str, list[Curve]] = {}
    for sampler in samplers:
        n_trials = min(STOCK_TRIALS[sampler], 3 * len(land.latency_s) // 4)  # the last ones are proposed hardly ever
        tried = {n: [run(land, stock(sampler, n_trials, n), s) for s in range(FEW)] for n in STOCK_N[sampler]}
        best_n = min(tried, key=lambda n: rank(tried[n]))
        n_seeds = FEW if sampler == "gp" else rival_seeds
        best_of[sampler] = add(sampler, f"n = {best_n}", stock(sampler, n_trials, best_n), n_seeds)
    best = min(best_of, key=lambda name: rank(best_of[name]))
    return {
        "landscape": land.name,
        "n_allocations": len(land.latency_s),
        "n_images": land.n_images,
        "whole_s": land.whole,
        "reference_point": land.reference_point,
        "best_hypervolume": land.hypervolume(),
        "best_sampler": best,
        "ratio": ratio(default, best_of[best]),
        "with_confirmation": entries[0].cost + confirmation(land),
        "entries": [asdict(e) for e in entries],
    }


def rank(curves: list[Curve]) -> tuple[float, float]:
    """Fewer runs that miss the goal first, then lower regret."""
    return float(np.mean([c.cost_of_goal is None for c in curves])), float(np.mean([c.regret[-1] for c in curves]))


def ratio(own: list[Curve], rival: list[Curve]) -> dict[str, float]:
    """Cost to the goal, ours by the rival's, paired by seed: geometric mean with its 90 % interval.

    Where the rival misses the goal, it is charged what it had spent in the end; where we do, all of an enumeration.
    """
    pairs = list(zip(own, rival, strict=False))
    costs = [c.cost[-1] if c.regret[-1] <= GOAL else 1.0 for c, _ in pairs]
    logs = np.log([c / (r.cost_of_goal or r.cost[-1]) for c, (_, r) in zip(costs, pairs, strict=True)])
    half = student.ppf(0.95, len(logs) - 1) * logs.std(ddof=1) / np.sqrt(len(logs))
    low, mean, high = np.exp([logs.mean() - half, logs.mean(), logs.mean() + half])
    reached = float(np.mean([r.cost_of_goal is not None for _, r in pairs]))
    return {"ratio": float(mean), "low": float(low), "high": float(high), "n": len(logs), "rival_reached": reached}


def confirmation(land: Landscape) -> float:
    """What measuring 12 entries of the true front on 1,000 images costs, spread evenly over it."""
    front = land.front(land.truth)
    chosen = [front[round(i)] for i in np.linspace(0, len(front) - 1, CONFIRMED)]
    return land.cost(dict.fromkeys(chosen, CONFIRM_N))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", type=Path, nargs="+", help="CSV with allocation and latency_s")
    parser.add_argument("--features", type=Path, help="folder of recorded features, when it is not the usual one")
    parser.add_argument("--refine", type=int, default=0, help="the landscape in between, at so many steps")
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--rival-seeds", type=int, default=20)
    parser.add_argument("--samplers", nargs="+", choices=STOCK_TRIALS, default=list(STOCK_TRIALS))
    parser.add_argument("--output", type=Path, default=RESULTS / "search_cost.json")
    arguments = parser.parse_args()
    if Path("/dev/shm").is_dir():  # the rivals' databases are not worth a disk
        tempfile.tempdir = "/dev/shm"
    built = ROOT / "build" / "landscapes"
    document = json.loads(arguments.output.read_text()) if arguments.output.exists() else {}
    for table in arguments.tables:
        land = recorded(arguments.features or built / table.stem / "recorded", table, table.stem)
        if arguments.refine:
            land = refined(land, arguments.refine, built)
        document[land.name] = evaluate(
            land, arguments.seeds, arguments.rival_seeds, arguments.samplers, not arguments.refine
        ) | {"environment": environment()}
        write(document, arguments.output)


def write(document: dict, output: Path) -> None:
    """The numbers, the page and a drawing for each landscape."""
    output.write_text(json.dumps(document, indent=1) + "\n")
    output.with_suffix(".md").write_text(page(document))
    for found in document.values():
        output.with_name(picture(found)).write_text(curves(found, GRID))


if __name__ == "__main__":
    main()
