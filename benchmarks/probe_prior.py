"""Does the stitchability probe help the search? Writes results/probe_prior.{json,md}.

    uv run python benchmarks/probe_prior.py --landscape FOLDER [--seeds 20] [--images 64]

FOLDER holds the features of the zoo's 66 allocations (benchmarks/make_landscape.py). The probe gives 1 - cos between
each smaller member's prediction and the largest's, per step, along the largest's trajectory (T-Stitch, figure 3).
Summed over the steps that an allocation gives to smaller members it says beforehand how far the allocation strays. It
is given to the Gaussian process as further coordinates, which enter its linear mean as well as its kernel: one for all
members together, or one for each smaller member. The search is `known_latency` with control variates, 50 images per
allocation; images come in an order of the seed. Regret of the returned front, as in benchmarks/search_cost.py.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log
from pathlib import Path

import numpy as np
from landscapes import Landscape, recorded

from tstitch_search.allocation import Allocation
from tstitch_search.config import load_study
from tstitch_search.measurement import Similarity
from tstitch_search.progress import Silent
from tstitch_search.quality.control_variates import ControlVariates
from tstitch_search.search.embedding import Embedding, positions_in_order
from tstitch_search.search.gaussian_process import fit
from tstitch_search.search.posterior import Candidates, History, QualityScale, Told, observations, posterior
from tstitch_search.search_space import SearchSpace
from tstitch_search.study_run.folder import environment
from tstitch_search.study_run.preparation.pool import open_pool
from tstitch_search.tasks.probe import probe_study

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
TIMES = ROOT / "benchmarks" / "landscapes" / "fashion_dit_s_b_xl_66.csv"
SCALE = QualityScale(relative=True, direction="minimize")
SPACE = SearchSpace(("S", "B", "XL"), (("S", "B", "XL"),), n_steps=20, grid_steps=2)
N, CONTROL = 50, 600
QUESTIONS = (4, 8, 12, 16, 24)
TOLERANCE = 0.001
AT_STOP = ("regret_when_stopped", "stopped_after")


@dataclass(frozen=True)
class WithProbe:
    """An embedding with the probe's coordinates beside its own; `strayed[name]` (n_steps,) is 1 - cos per step."""

    own: Embedding
    strayed: dict[str, np.ndarray]
    one_per_member: bool

    def of(self, allocations: Sequence[Allocation]) -> np.ndarray:
        """Coordinates (n, d): the own ones, then the probe's, scaled to at most 1."""
        by_member = np.array(
            [
                [sum(x[i] for i, who in enumerate(a.by_step) if who == name) for name, x in self.strayed.items()]
                for a in allocations
            ]
        ).reshape(len(allocations), len(self.strayed))
        probe = by_member if self.one_per_member else by_member.sum(axis=1, keepdims=True)
        largest = np.array([x.sum() for x in self.strayed.values()])
        return np.hstack([self.own.of(allocations), probe / (largest if self.one_per_member else largest.max())])

    @property
    def groups(self) -> np.ndarray:
        """A length scale of its own for every further coordinate."""
        own = self.own.groups
        n = len(self.strayed) if self.one_per_member else 1
        return np.concatenate([own, own.max(initial=-1) + 1 + np.arange(n)])


def search(land: Landscape, candidates: Candidates, seed: int) -> dict[str, float]:
    """Regret after each number of questions beyond the baselines, and after how many the default tolerance stops."""
    rows = land.order(seed)
    of_controls = {str(a): land.features(a, rows[:CONTROL]) for a in land.singles}
    controls = ControlVariates(land.distance, of_controls, str(SPACE.anchor))

    def ask(a: Allocation) -> Told:
        found = controls.estimate(land.features(a, rows[: CONTROL if a in land.singles else N]))
        value = exp(found.log_fid)
        return Told(a, land.latency_s[a], value, max(value * found.log_fid_se, 1e-6))

    told, result = [ask(a) for a in SPACE.baselines()], {}
    for n_questions in range(max(QUESTIONS) + 1):
        expected = posterior(candidates, History(told=tuple(told)), SCALE)
        assert expected is not None
        stops = expected.expected_gain < TOLERANCE and "stopped_after" not in result
        if n_questions in QUESTIONS or stops:
            regret = land.regret(believed(candidates, told))
            result |= {f"after {n_questions}": regret} if n_questions in QUESTIONS else {}
            result |= {"stopped_after": n_questions, "regret_when_stopped": regret} if stops else {}
        told.append(ask(candidates.allocations[int(np.argmax(expected.ehvi / candidates.latency_s))]))
    if "stopped_after" not in result:
        result |= {"stopped_after": max(QUESTIONS), "regret_when_stopped": result[f"after {max(QUESTIONS)}"]}
    return result


def believed(candidates: Candidates, told: Sequence[Told]) -> dict[Allocation, float]:
    """What the model thinks of the measured allocations."""
    seen = observations(candidates, told, SCALE)
    mean, _ = fit(seen).posterior(seen.x)
    return {t.allocation: exp(m) for t, m in zip(told, mean, strict=True)}


def strayed_by(similarity: Similarity) -> dict[str, np.ndarray]:
    """1 - cos between each smaller member and the largest, per step."""
    *smaller, largest = SPACE.denoisers
    return {name: 1 - np.array(similarity.between(name, largest).mean) for name in smaller}


def explained(land: Landscape, x: np.ndarray) -> float:
    """R squared of true log FID, linear in the columns of `x` (n, d)."""
    y = np.array([log(land.truth[a]) for a in SPACE])
    design = np.column_stack([np.ones(len(y)), x])
    residual = y - design @ np.linalg.lstsq(design, y, rcond=None)[0]
    return float(1 - residual.var() / y.var())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--landscape", type=Path, required=True, help="folder of recorded features")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--images", type=int, default=64, help="images of the probe")
    arguments = parser.parse_args()
    study = load_study(ROOT / "studies" / "small_first.yaml", ["workers.pool=inline"])
    similarity = probe_study(study, arguments.images, open_pool, Silent())
    strayed, land = strayed_by(similarity), recorded(arguments.landscape, TIMES, TIMES.stem)
    rows = []
    for name, one_per_member in (("without", None), ("one coordinate", False), ("one per member", True)):
        candidates = Candidates(tuple(SPACE), SPACE.baselines(), land.latency_s, SPACE.denoisers)
        if one_per_member is not None:
            candidates.embedding = WithProbe(candidates.embedding, strayed, one_per_member)  # type: ignore[assignment]
            candidates.x = candidates.embedding.of(candidates.allocations)
        found = [search(land, candidates, seed) for seed in range(arguments.seeds)]
        rows.append({"probe": name, "r_squared": explained(land, candidates.x), "seeds": found})
        print(name, {key: float(np.mean([f[key] for f in found])) for key in found[0]}, flush=True)
    document = {
        "n_seeds": arguments.seeds,
        "n_probe_images": arguments.images,
        "one_minus_cosine": {name: [round(float(v), 5) for v in x] for name, x in strayed.items()},
        "r_squared_of_the_probe_alone": explained(
            land, WithProbe(Embedding(positions_in_order(SPACE.denoisers), 1), strayed, False).of(tuple(SPACE))[:, -1:]
        ),
        "rows": rows,
        "environment": environment(),
    }
    (RESULTS / "probe_prior.json").write_text(json.dumps(document, indent=1) + "\n")
    (RESULTS / "probe_prior.md").write_text(page(document))


def page(document: dict) -> str:
    """The results as Markdown."""
    first, last = ({name: x[i] for name, x in document["one_minus_cosine"].items()} for i in (0, -1))
    lines = [
        "# Does the stitchability probe help the search?",
        "",
        f"The zoo's 66 allocations, {document['n_seeds']} orders of the images, 50 images per allocation, control",
        "variates. Command: `uv run python benchmarks/probe_prior.py --landscape FOLDER`. Regret in per cent, mean",
        "and, in brackets, the paired difference to the search without probe with its standard error. Stop: where the",
        "tolerance of 0.1 % ends it, after how many questions beyond the baselines.",
        "",
        f"1 - cos to XL over {document['n_probe_images']} images, first to last step: "
        + ", ".join(f"{name} {first[name]:.4f} to {last[name]:.4f}" for name in first)
        + ".",
        "Of the variance of true log FID the probe's sum explains "
        f"{document['r_squared_of_the_probe_alone']:.1%} alone,",
        "the linear terms of each model's coordinates: "
        + ", ".join(f"{r['probe']} {r['r_squared']:.1%}" for r in document["rows"])
        + ".",
        "",
        "| probe | " + " | ".join(f"after {n}" for n in QUESTIONS) + " | at stop | questions at stop |",
        "|---|" + "---|" * (len(QUESTIONS) + 2),
    ]
    plain = document["rows"][0]["seeds"]
    for r in document["rows"]:
        cells = [cell(r["seeds"], plain, key) for key in (*(f"after {n}" for n in QUESTIONS), *AT_STOP)]
        lines.append(f"| {r['probe']} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def cell(seeds: Sequence[dict], plain: Sequence[dict], key: str) -> str:
    """The mean over seeds, and the paired difference to the search without probe."""
    scale = 1 if key == "stopped_after" else 100
    values, before = (scale * np.array([s[key] for s in found]) for found in (seeds, plain))
    more = values - before
    difference = f" ({more.mean():+.2f} ± {more.std(ddof=1) / np.sqrt(len(more)):.2f})" if seeds is not plain else ""
    return f"{values.mean():.2f}{difference}"


if __name__ == "__main__":
    main()
