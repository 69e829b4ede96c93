"""How many images a metric per pair needs, and FID, for one decision. Writes results/paired_against_fid.{json,md}.

    OMP_NUM_THREADS=1 uv run python benchmarks/paired_against_fid.py [--pool 6000] [--replicates 200]

The decision: of two neighbours on the line from S*20 to B*20, four steps or one apart, which is better? Images of the
embedded family are made once, with the same seeds for all, and kept in build/coverage: this pool is the population. A
replicate draws n of its seeds, without one of them twice, in runs of ten that hold every label once. It decides
rightly if the one-sided 95 % interval of the paired difference (Student's t, as in a table) leaves out zero, on the
side of the pool's own difference. Needed is the smallest n of the grid with which 90 % of the replicates do. The
anchor of the pairs is B*20.
"""

import argparse
import json
import sys
from itertools import pairwise

import numpy as np
from coverage import ANCHOR, LABEL_CYCLE, RESULTS, ROOT, Pool, pool_of

from tstitch_search.quality.estimate import estimate, measured
from tstitch_search.quality.jackknife import N_GROUPS, Statistic
from tstitch_search.quality.metrics import metric_named
from tstitch_search.quality.metrics.metric import Metric
from tstitch_search.quality.reference import load_reference
from tstitch_search.study_run.folder import environment

LINE = ("S*20", "S*16-B*4", "S*12-B*8", "S*8-B*12", "S*4-B*16")
FINER = ("S*15-B*5", "S*11-B*9", "S*7-B*13", "S*3-B*17")
PAIRS = (*pairwise(LINE), *zip(LINE[1:], FINER, strict=True))
GRID = (3, 4, 5, 6, 8, 10, 20, 30, 40, 60, 80, 100, 150, 200, 300, 400, 600, 800, 1000, 1500, 2000, 3000)
METRICS, WANTED, LEVEL = ("perceptual", "fid"), 0.9, 0.05


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pool", type=int, default=6000, help="images of each allocation")
    parser.add_argument("--replicates", type=int, default=200)
    arguments = parser.parse_args()
    pool = pool_of(arguments.pool, (*LINE, *FINER))
    document = {
        "n_pool": arguments.pool,
        "n_replicates": arguments.replicates,
        "command": f"OMP_NUM_THREADS=1 python benchmarks/paired_against_fid.py {' '.join(sys.argv[1:])}".strip(),
        "anchor": ANCHOR,
        "rows": [row(pool, pair, arguments.replicates) for pair in PAIRS],
        "environment": environment(),
    }
    (RESULTS / "paired_against_fid.json").write_text(json.dumps(document, indent=2) + "\n")
    (RESULTS / "paired_against_fid.md").write_text(page(document))


def row(pool: Pool, pair: tuple[str, str], n_replicates: int) -> dict:
    """What both metrics say of two neighbours, by name, and the numbers of images that they need."""
    found: dict = {"pair": pair}
    for name in METRICS:
        metric = metric_named(name)
        statistic = metric.bind(load_reference("zoo:fashion", ROOT) if metric.kind == "set" else None)
        arrays = [pool[text][metric.array] for text in pair]
        truth = statistic(arrays[0]) - statistic(arrays[1])
        rates = {}
        for n in (n for n in GRID if fewest(metric) <= n <= len(arrays[0]) / 2):
            rates[n] = float(np.mean([right(metric, statistic, arrays, truth, n, i) for i in range(n_replicates)]))
            if rates[n] >= WANTED:
                break
        needed = next((n for n, rate in rates.items() if rate >= WANTED), None)
        found[name] = {"difference": truth, "needed": needed, "rates": rates}
    print(found, flush=True)
    return found


def fewest(metric: Metric) -> int:
    """Images that an error takes: one in each block of the jackknife, or two."""
    return N_GROUPS if metric.kind == "set" else 2


def right(metric: Metric, statistic: Statistic, arrays: list[np.ndarray], truth: float, n: int, seed: int) -> bool:
    """Whether n images tell the two apart, on the right side."""
    rng = np.random.default_rng((n, seed))
    starts = LABEL_CYCLE * rng.choice(len(arrays[0]) // LABEL_CYCLE, size=-(-n // LABEL_CYCLE), replace=False)
    drawn = (starts[:, None] + rng.permutation(LABEL_CYCLE)).ravel()[:n]
    a, b = (measured(metric, statistic, array[drawn]) for array in arrays)
    better, worse = (b, a) if (truth > 0) != metric.higher_is_better else (a, b)
    return estimate(better, worse, metric).p_of_loss(0.0) < LEVEL


def page(document: dict) -> str:
    """The results as Markdown."""
    lines, most = [], document["n_pool"] // 2
    for r in document["rows"]:
        paired, fid = (r[name] for name in METRICS)
        ratio = (
            ""
            if not paired["needed"]
            else (f"{fid['needed'] / paired['needed']:.0f}" if fid["needed"] else f"> {most / paired['needed']:.0f}")
        )
        lines.append(
            f"| {' or '.join(r['pair'])} | {paired['difference']:+.4f} | {paired['needed'] or f'> {most}'} | "
            f"{fid['difference']:+.3f} | {fid['needed'] or f'> {most}'} | {ratio} |"
        )
    machine = document["environment"]
    return "\n".join(
        [
            "# Images for the same decision: a metric per pair against FID",
            "",
            "Which of two neighbours is better? Needed is the smallest number of images with which",
            f"{WANTED:.0%} of {document['n_replicates']} replicates say so rightly at one-sided 95 %, drawn from",
            f"a pool of {document['n_pool']:,} images of each allocation. `perceptual` compares with the images of",
            f"{document['anchor']} of the same seeds, FID with the embedded family's real images; its differences are",
            f"paired, too. Numbers are of a grid ({', '.join(map(str, GRID[:8]))}, ...), so that a ratio is rough; FID",
            f"was tried with up to {most:,} images.",
            "",
            "| which is better? | perceptual, difference | images | FID, difference | images | ratio |",
            "|---|---|---|---|---|---|",
            *lines,
            "",
            "The two answer different questions (`docs/statistics.md`): near the anchor means like it, not better.",
            "",
            f"`{document['command']}`, {machine['platform']}.",
            "",
        ]
    )


if __name__ == "__main__":
    main()
