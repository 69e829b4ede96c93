"""How good a table does a search give for what it costs? Writes results/search_cost.{json,md}.

    uv run python benchmarks/search_cost.py --landscape FOLDER --times CSV [--seeds 20]

FOLDER holds the features of every allocation of a space and CSV their times (benchmarks/make_landscape.py). Every
method sees the images in an order of its own seed, the same for all allocations. It returns a table: the front of its
own estimates. The table is scored at the true FIDs, those of all images.

Regret: by how much log FID of what the table says to deploy is above that of the best allocation, averaged over time
budgets spread evenly between the fastest allocation and the largest denoiser. Cost: every denoiser call, baselines and
control images included, as a share of measuring all allocations on all images.
"""

import argparse
import csv
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import exp, log
from pathlib import Path

import numpy as np

from tstitch_search.allocation import Allocation
from tstitch_search.pareto import pareto_front
from tstitch_search.quality.control_variates import ControlVariates
from tstitch_search.quality.frechet import FrechetDistance
from tstitch_search.quality.jackknife import jackknifed
from tstitch_search.quality.reference import load_reference
from tstitch_search.run.folder import environment
from tstitch_search.search import AllocationStudy, Rule
from tstitch_search.search.gaussian_process import fit
from tstitch_search.search.outlook import Candidates, History, QualityScale, Told, observations, outlook
from tstitch_search.search.racing import Measured, MoreImages, RaceRule, RaceState, Stop, next_action
from tstitch_search.search_space import SearchSpace

RESULTS = Path(__file__).parent / "results"
LABEL_CYCLE = 10
SCALE = QualityScale(relative=True, direction="minimize")
FLAT_N = (20, 30, 50, 75, 150, 300)
CONTROL, CHUNK, MAX_CHUNKS = 600, 50, 6
TOLERANCES = (0.003, 0.001, 0.0003)


@dataclass
class Landscape:
    """What is known of a space: features of all images, true FIDs and times of every allocation."""

    space: SearchSpace
    features: dict[Allocation, np.ndarray]
    latency_s: dict[Allocation, float]
    distance: FrechetDistance
    truth: dict[Allocation, float] = field(init=False)

    def __post_init__(self) -> None:
        self.truth = {a: self.distance(x) for a, x in self.features.items()}
        self.n_images = len(next(iter(self.features.values())))
        self.full_cost = self.n_images * sum(self.latency_s.values())

    @property
    def singles(self) -> list[Allocation]:
        return [self.space.single(name) for name in self.space.denoisers]

    def order(self, seed: int) -> np.ndarray:
        """The images in an order of this seed; any ten in a row hold every label once."""
        cycles = np.random.default_rng(seed).permutation(self.n_images // LABEL_CYCLE)
        return (cycles[:, None] * LABEL_CYCLE + np.arange(LABEL_CYCLE)).ravel()

    def regret(self, estimates: dict[Allocation, float]) -> float:
        """Mean excess of log FID of what the estimates' front deploys, over the budgets."""
        front = [list(estimates)[i] for i in pareto_front([(self.latency_s[a], v) for a, v in estimates.items()])]
        times = np.array([self.latency_s[a] for a in front])
        chosen = np.array([log(self.truth[a]) for a in front])
        every = sorted(self.truth, key=lambda a: self.latency_s[a])
        best = np.minimum.accumulate([log(self.truth[a]) for a in every])
        all_times = np.array([self.latency_s[a] for a in every])
        budgets = np.linspace(all_times[0], self.latency_s[self.space.anchor], 400)
        worst = max(map(log, self.truth.values()))
        at = np.searchsorted(times, budgets, side="right") - 1
        deployed = np.where(at >= 0, chosen[np.maximum(at, 0)], worst)
        return float((deployed - best[np.searchsorted(all_times, budgets, side="right") - 1]).mean())


@dataclass(frozen=True)
class Result:
    """What one run of a method gave: estimates of what it measured, and images made of each."""

    estimates: dict[Allocation, float]
    n_made: dict[Allocation, int]


Method = Callable[[Landscape, int], Result]


def flat(n: int) -> Method:
    """All allocations on the first n images, shared seeds, plain FID."""

    def run(land: Landscape, seed: int) -> Result:
        rows = land.order(seed)[:n]
        return Result({a: land.distance(x[rows]) for a, x in land.features.items()}, dict.fromkeys(land.features, n))

    return run


def independent(n: int) -> Method:
    """All allocations on n images each, every allocation with seeds of its own: the paper's procedure."""

    def run(land: Landscape, seed: int) -> Result:
        rows = {a: land.order(1000 * (seed + 1) + i)[:n] for i, a in enumerate(land.features)}
        return Result({a: land.distance(land.features[a][r]) for a, r in rows.items()}, dict.fromkeys(rows, n))

    return run


def stock(sampler: str, n_trials: int, n: int) -> Method:
    """One of Optuna's samplers, plain FID of the same first n images of every allocation it asks for."""

    def run(land: Landscape, seed: int) -> Result:
        rows, found = land.order(seed)[:n], {}
        with tempfile.TemporaryDirectory() as folder:
            rule = Rule(sampler, seed, tuple(land.features), latency_s=land.latency_s)  # type: ignore[arg-type]
            study = AllocationStudy(Path(folder) / "study.db", "s", land.space, rule)
            while len(found) < n_trials and (trial := study.ask()):
                measured = jackknifed(land.distance, land.features[trial.allocation][rows])
                found[trial.allocation] = measured.value
                study.tell(trial, land.latency_s[trial.allocation], measured.value, measured.se, n)
        return Result(found, dict.fromkeys(found, n))

    return run


def with_controls(land: Landscape, rows: np.ndarray) -> ControlVariates:
    """The denoisers alone on the control images."""
    return ControlVariates(
        land.distance, {str(a): land.features[a][rows[:CONTROL]] for a in land.singles}, str(land.space.anchor)
    )


def believed(candidates: Candidates, told: list[Told]) -> dict[Allocation, float]:
    """What the model thinks of the measured allocations."""
    seen = observations(candidates, told, SCALE)
    mean, _ = fit(seen).posterior(seen.x)
    return {t.allocation: exp(m) for t, m in zip(told, mean, strict=True)}


def known_latency(n: int, tolerance: float) -> Method:
    """Ours with the same n for every allocation: control variates, and the question with the highest expected gain."""

    def run(land: Landscape, seed: int) -> Result:
        rows = land.order(seed)
        controls, told, n_made = with_controls(land, rows), [], {}
        candidates = Candidates(tuple(land.features), land.space.baselines(), land.latency_s, land.space.denoisers)
        while True:
            history = History(told=tuple(told))
            pending = [a for a in land.space.baselines() if a not in history.asked]
            expected = None if pending else outlook(candidates, history, SCALE)
            if expected is not None and expected.expected_gain < tolerance:
                return Result(believed(candidates, told), n_made)
            gain = expected.ehvi / candidates.latency_s if expected is not None else np.zeros(1)
            asked = pending[0] if pending else candidates.allocations[int(np.argmax(gain))]
            n_made[asked] = CONTROL if asked in land.singles else n
            told.append(tell(land, controls, asked, rows, n_made[asked]))

    return run


def tell(land: Landscape, controls: ControlVariates, asked: Allocation, rows: np.ndarray, n: int) -> Told:
    """The estimate of an allocation from its first n images."""
    found = controls.estimate(land.features[asked][rows[:n]])
    value = exp(found.log_fid)
    return Told(asked, land.latency_s[asked], value, max(value * found.log_fid_se, 1e-6))


def racing(tolerance: float) -> Method:
    """Ours, giving images chunk by chunk."""

    def run(land: Landscape, seed: int) -> Result:
        rows = land.order(seed)
        controls, rule = with_controls(land, rows), RaceRule(MAX_CHUNKS, tolerance)
        candidates = Candidates(tuple(land.features), land.space.baselines(), land.latency_s, land.space.denoisers)
        found: dict[Allocation, Measured] = {}

        def learn(a: Allocation, n_chunks: int, n: int) -> None:
            t = tell(land, controls, a, rows, n)
            found[a] = Measured(t.allocation, t.latency_s, t.quality, t.quality_se, n_chunks)

        for single in land.singles:
            learn(single, MAX_CHUNKS, CONTROL)
        while not isinstance(action := next_action(candidates, RaceState(tuple(found.values())), SCALE, rule), Stop):
            done = found[action.allocation].n_chunks if isinstance(action, MoreImages) else 0
            learn(action.allocation, done + 1, (done + 1) * CHUNK)
        made = {a: CONTROL if a in land.singles else m.n_chunks * CHUNK for a, m in found.items()}
        return Result(believed(candidates, list(found.values())), made)

    return run


def methods() -> Iterator[tuple[str, str, Method]]:
    """Family, setting and the method itself."""
    for n in FLAT_N:
        yield "flat enumeration, shared seeds", f"n = {n}", flat(n)
    yield "enumeration, independent seeds", "n = 300", independent(300)
    for sampler in ("tpe", "random", "nsga2"):
        for n_trials in (15, 25):
            for n in (75, 150):
                yield f"{sampler}, plain FID", f"{n_trials} trials, n = {n}", stock(sampler, n_trials, n)
    for n in (50, 100):
        for tolerance in TOLERANCES:
            yield "known latency, control variates", f"n = {n}, tolerance {tolerance:.2%}", known_latency(n, tolerance)
    for tolerance in TOLERANCES:
        yield "the same, racing", f"tolerance {tolerance:.2%}", racing(tolerance)


def load(folder: Path, times: Path) -> Landscape:
    """The recorded landscape; its space is the one that its allocations span."""
    with times.open() as stream:
        latency_s = {Allocation.parse(r["allocation"]): float(r["latency_s"]) for r in csv.DictReader(stream)}
    features = {a: np.load(folder / f"{a.file_name}.npy") for a in latency_s}
    names = tuple(sorted({d for a in features for d in a.steps}, key=lambda d: latency_s[Allocation.of([(d, 20)])]))
    n_steps = next(iter(features)).n_steps
    grid = min(n for a in features for n in a.steps.values())
    return Landscape(
        SearchSpace(names, (names,), n_steps, grid),
        features,
        latency_s,
        FrechetDistance(load_reference("reference.npz", folder)),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--landscape", type=Path, required=True, help="folder of recorded features")
    parser.add_argument("--times", type=Path, required=True, help="CSV with allocation and latency_s")
    parser.add_argument("--seeds", type=int, default=20)
    arguments = parser.parse_args()
    land = load(arguments.landscape, arguments.times)
    started, rows = time.monotonic(), []
    for family, setting, method in methods():
        results = [method(land, seed) for seed in range(arguments.seeds)]
        regrets = np.array([land.regret(r.estimates) for r in results])
        costs = np.array([sum(n * land.latency_s[a] for a, n in r.n_made.items()) / land.full_cost for r in results])
        images = [n for r in results for a, n in r.n_made.items() if a not in land.singles]
        rows.append(
            {
                "family": family,
                "setting": setting,
                "cost": float(costs.mean()),
                "regret": float(regrets.mean()),
                "regret_se": float(regrets.std(ddof=1) / np.sqrt(len(regrets))),
                "within_1_percent": float((regrets <= 0.01).mean()),
                "allocations": float(np.mean([len(r.n_made) for r in results])),
                "images": {str(n): images.count(n) / len(results) for n in sorted(set(images))},
            }
        )
        print(rows[-1], flush=True)
    document = {
        "n_allocations": len(land.features),
        "n_images": land.n_images,
        "n_seeds": arguments.seeds,
        "seconds": time.monotonic() - started,
        "rows": rows,
        "environment": environment(),
    }
    (RESULTS / "search_cost.json").write_text(json.dumps(document, indent=2) + "\n")
    (RESULTS / "search_cost.md").write_text(page(document))


def page(document: dict) -> str:
    """The results as Markdown."""
    lines = [
        "# What a search costs, and how good its table is",
        "",
        f"The zoo's {document['n_allocations']} allocations with real features, truth = FID of all",
        f"{document['n_images']:,} images, {document['n_seeds']} seeds. Regret: mean excess of log FID over budgets.",
        "Cost: share of measuring everything on all images, control images and baselines included. Command:",
        "`uv run python benchmarks/search_cost.py --landscape FOLDER --times CSV`.",
        "",
        "| method | setting | cost | regret | seeds within 1 % | allocations | images: how many allocations |",
        "|---|---|---|---|---|---|---|",
    ]
    for r in document["rows"]:
        images = ", ".join(f"{n}: {count:.1f}" for n, count in r["images"].items())
        lines.append(
            f"| {r['family']} | {r['setting']} | {r['cost']:.2%} | {r['regret']:.2%} ± {r['regret_se']:.2%} | "
            f"{r['within_1_percent']:.0%} | {r['allocations']:.0f} | {images} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
