"""How much do control variates gain over plain FID of the same images? Writes results/fid_estimator.{json,md}.

    uv run python benchmarks/fid_estimator.py --landscape FOLDER

FOLDER holds the features of every allocation of a space: one ALLOCATION.npy (n_images, d) each, the same images in the
same order everywhere, and reference.npz with mu and sigma. These N images are the population: each repetition draws N
of them, with replacement, ten consecutive ones at a time, which hold every label once. The single denoisers are the
baselines and see all N, every other allocation only the first n. Errors and bias are against plain FID of all N images
drawn; intervals against the expected FID of N images, the mean of that over repetitions. About 15 minutes.
"""

import argparse
import json
import time
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np

from tstitch_search.quality.control_variates import ControlVariates
from tstitch_search.quality.frechet import FrechetDistance
from tstitch_search.quality.jackknife import jackknifed
from tstitch_search.quality.reference import Reference, load_reference
from tstitch_search.study_run.folder import environment

RESULTS = Path(__file__).parent / "results"
N_FEW = (250, 500, 1000)
LABEL_CYCLE = 10
ALONE_EVERY = 10
Z_90 = 1.6449


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--landscape", type=Path, required=True, help="folder of recorded features")
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--no-cost", action="store_true", help="do not time 2,048 features")
    arguments = parser.parse_args()
    distance, features = load_landscape(arguments.landscape)
    document = {
        "command": f"python benchmarks/fid_estimator.py --landscape {arguments.landscape.name} "
        f"--repeats {arguments.repeats}",
        "environment": environment(),
        **benchmark(distance, features, arguments.repeats),
        "cost": None if arguments.no_cost else cost(),
    }
    (RESULTS / "fid_estimator.json").write_text(json.dumps(document, indent=2) + "\n")
    (RESULTS / "fid_estimator.md").write_text(page(document))


def load_landscape(folder: Path) -> tuple[FrechetDistance, dict[str, np.ndarray]]:
    """The distance to the landscape's reference, and features (n_images, d) of every allocation by its file name."""
    features = {path.stem: np.load(path) for path in sorted(folder.glob("*.npy"))}
    return FrechetDistance(load_reference("reference.npz", folder)), features


def benchmark(distance: FrechetDistance, features: dict[str, np.ndarray], n_repeats: int) -> dict:
    """Accuracy for every number of images, over pairs of allocations whose FIDs are both below twice the best."""
    n_all = len(next(iter(features.values())))
    fids = {name: distance(x) for name, x in features.items()}
    baselines = sorted((name for name in features if "-" not in name), key=lambda name: -fids[name])
    judged = [name for name in features if fids[name] < 2 * min(fids.values()) and name not in baselines]
    others = [name for name in features if name not in baselines]

    started, rng = time.monotonic(), np.random.default_rng(0)
    draws = [draw(n_all, rng) for _ in range(n_repeats)]
    levels = np.array([[distance(features[name][rows]) for name in [*judged, baselines[-1]]] for rows in draws])
    made = [repetition(distance, features, baselines, judged, rows, i) for i, rows in enumerate(draws)]
    whole = ControlVariates(distance, {name: features[name] for name in baselines}, baselines[-1])
    return {
        "n_images": n_all,
        "n_allocations": len(features),
        "n_judged": len(judged),
        "n_repeats": n_repeats,
        "baselines": {name: fids[name] for name in baselines},
        "seconds": time.monotonic() - started,
        "rows": [
            {
                "n": n,
                **accuracy(np.array([row[n]["plain"] for row in made]), levels, "plain"),
                **accuracy(np.array([[e.fid for e in row[n]["estimates"]] for row in made]), levels, "ours"),
                **accuracy(
                    np.array([row[n]["nearest"] for row in made[::ALONE_EVERY]]), levels[::ALONE_EVERY], "nearest"
                ),
                **coverage([row[n]["estimates"] for row in made], levels),
                "active": float(np.mean([whole.estimate(features[name][:n]).active for name in others])),
                "effective_n": float(np.median([e.effective_n for row in made for e in row[n]["estimates"]])),
            }
            for n in N_FEW
        ],
    }


def draw(n_all: int, rng: np.random.Generator) -> np.ndarray:
    """Rows of as many images, drawn with replacement in runs that hold every label once."""
    starts = LABEL_CYCLE * rng.integers(n_all // LABEL_CYCLE, size=n_all // LABEL_CYCLE)
    return (starts[:, None] + np.arange(LABEL_CYCLE)).ravel()


def repetition(distance, features, baselines, judged, rows, i) -> dict[int, dict]:
    """Of every judged allocation, for every n: plain FID, our estimate, and that from the nearest baseline alone."""
    drawn = {name: features[name][rows] for name in baselines}
    together = ControlVariates(distance, drawn, baselines[-1])
    alone = [ControlVariates(distance, {name: x}, name) for name, x in drawn.items()] if i % ALONE_EVERY == 0 else []
    made: dict[int, dict] = {}
    for n in N_FEW:
        few = [features[name][rows[:n]] for name in judged]
        nearest = [max((c.estimate(x) for c in alone), key=lambda e: e.explained).fid for x in few] if alone else []
        made[n] = {
            "plain": [distance(x) for x in few],
            "estimates": [together.estimate(x) for x in few],
            "nearest": nearest,
        }
    print(f"repetition {i}", flush=True)
    return made


def accuracy(fids: np.ndarray, levels: np.ndarray, what: str) -> dict[str, float]:
    """Errors of `fids` (repeats, judged) against FID at N of the images drawn, and against its expected value."""
    errors, from_expected = fids - levels[:, :-1], fids - levels[:, :-1].mean(axis=0)
    return {
        f"{what}_difference_rms": rms_of_differences(errors),
        f"{what}_difference_rms_to_expected": rms_of_differences(from_expected),
        f"{what}_bias": float(np.abs(errors.mean(axis=0)).mean()),
        f"{what}_level_rms": float(np.sqrt((errors**2).mean())),
    }


def rms_of_differences(errors: np.ndarray) -> float:
    """Root mean square error of the difference of two allocations, over all pairs, from errors (repeats, judged)."""
    pairs = combinations(range(errors.shape[1]), 2)
    return float(np.sqrt(np.mean([((errors[:, a] - errors[:, b]) ** 2).mean() for a, b in pairs])))


def coverage(estimates: list[list], levels: np.ndarray) -> dict[str, float]:
    """How often 90 % intervals hold the expected FID at N, its difference to the anchor's, and its log ratio to it."""
    expected, anchor, anchors = levels[:, :-1].mean(axis=0), levels[:, -1].mean(), levels[:, -1]
    e = {key: np.array([[getattr(x, key) for x in row] for row in estimates]) for key in vars(estimates[0][0])}
    log_ratios = e["log_fid"] - np.log(anchors)[:, None]
    return {
        "covered_level": within(e["fid"] - expected, e["fid_se"]),
        "covered_difference": within(e["difference"] - (expected - anchor), e["difference_se"]),
        "covered_log_ratio": within(log_ratios - np.log(expected / anchor), e["log_fid_se"]),
    }


def within(errors: np.ndarray, standard_errors: np.ndarray) -> float:
    return float((np.abs(errors) < Z_90 * standard_errors).mean())


def cost(n: int = 1000, n_all: int = 4000, d: int = 2048) -> dict[str, float]:
    """Seconds for one estimate with its standard error from features as wide as Inception's, and what comes before."""
    rng = np.random.default_rng(0)
    scales = 1 / np.sqrt(1 + np.arange(d))
    noise = rng.normal(size=(n_all, d))
    baselines = {name: (noise + 0.3 * rng.normal(size=noise.shape)) * scales for name in ("S", "B", "XL")}
    x = (noise[:n] + 0.3 * rng.normal(size=(n, d))) * scales
    distance = FrechetDistance(Reference(np.zeros(d), np.diag(scales**2), None, None, ""))
    marks = [time.monotonic()]
    jackknifed(distance, x)
    marks.append(time.monotonic())
    controls = ControlVariates(distance, baselines, "XL")
    marks.append(time.monotonic())
    controls.estimate(x)
    marks.append(time.monotonic())
    controls.estimate(x)
    marks.append(time.monotonic())
    plain_s, study_s, first_s, estimate_s = np.diff(marks)
    times = {"plain_s": plain_s, "study_s": study_s, "first_of_n_s": first_s - estimate_s, "estimate_s": estimate_s}
    return {"n": n, "n_all": n_all, "d": d, **{key: float(seconds) for key, seconds in times.items()}}


def page(document: dict) -> str:
    """The results in Markdown."""
    d, rows, machine = document, document["rows"], document["environment"]
    baselines = ", ".join(f"{name} (FID {fid:.3f})" for name, fid in d["baselines"].items())
    to_expected = ", ".join(
        f"{r['ours_difference_rms_to_expected'] / r['plain_difference_rms_to_expected']:.2f} (n = {r['n']})"
        for r in rows
    )
    return f"""\
# FID from few images: control variates against plain FID of the same images

{d["n_allocations"]} allocations, N = {d["n_images"]:,} recorded images of each, {d["n_repeats"]} repetitions.
Baselines: {baselines}. Judged, in pairs: the {d["n_judged"]} others with FID below twice the best.

| n | RMS error of differences: plain | nearest baseline alone | ours | ours / plain |
|---|---|---|---|---|
{table(rows, difference_row)}

| n | bias of the level: plain | ours | ours / plain | RMS error of the level: plain | ours |
|---|---|---|---|---|---|
{table(rows, level_row)}

Errors are against FID at N of the same images, from plain FID_n with shared seeds, from the best-correlated baseline
alone (every {ALONE_EVERY}th repetition), and from all baselines. A bias is the mean over allocations of the absolute
mean error; chance alone makes it about 1/{d["n_repeats"] ** 0.5 / 0.8:.0f} of the RMS error. Against the expected FID
at N, where the noise of the N images themselves counts too, ours / plain for differences is {to_expected}.

| n | active | effective n (median) | 90 % intervals cover: level | difference to the anchor | log ratio |
|---|---|---|---|---|---|
{table(rows, interval_row)}

{cost_line(d["cost"]) if d["cost"] else ""}

`{d["command"]}`: {d["seconds"]:.0f} s on one of {machine["cpu_cores"]} cores, {machine["platform"]}.
"""


def table(rows: list[dict], cells: Callable[[dict], list[str]]) -> str:
    return "\n".join(f"| {' | '.join([str(r['n']), *cells(r)])} |" for r in rows)


def difference_row(r: dict) -> list[str]:
    errors = [r[f"{what}_difference_rms"] for what in ("plain", "nearest", "ours")]
    return [*(f"{error:.4f}" for error in errors), f"**{errors[2] / errors[0]:.2f}**"]


def level_row(r: dict) -> list[str]:
    ratio = f"**{r['ours_bias'] / r['plain_bias']:.3f}**"
    levels = [f"{r[f'{what}_level_rms']:.4f}" for what in ("plain", "ours")]
    return [f"{r['plain_bias']:.4f}", f"{r['ours_bias']:.4f}", ratio, *levels]


def interval_row(r: dict) -> list[str]:
    covered = [f"{r[f'covered_{what}']:.1%}" for what in ("level", "difference", "log_ratio")]
    return [f"{r['active']:.0%}", f"{r['effective_n']:.0f}", *covered]


def cost_line(c: dict) -> str:
    return (
        f"Time with {c['d']:,} features, n = {c['n']:,}, N = {c['n_all']:,}: {c['estimate_s']:.1f} s for an estimate "
        f"with its standard error (plain FID with its jackknife: {c['plain_s']:.1f} s); {c['first_of_n_s']:.0f} s once "
        f"for every n, {c['study_s']:.0f} s once for a study."
    )


if __name__ == "__main__":
    main()
