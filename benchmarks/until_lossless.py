"""How often does `run --until-lossless` call an entry lossless? Writes results/until_lossless.{json,md}.

    OMP_NUM_THREADS=1 uv run python benchmarks/until_lossless.py [--studies 1000]

Each simulated study confirms three entries with 100 images and goes on as its plan says; nothing is sampled. A metric
per pair: normal values, paired noise of 6 margins an image. FID: normal features of 8 dimensions, most of whose noise
all allocations share; an entry's mean lies off by what its loss takes. All three entries lose the same.
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tstitch_search.allocation import Allocation
from tstitch_search.lookup import LookupEntry, LookupTable, OperatingPoint
from tstitch_search.quality.estimate import QualityEstimate, estimate, measured
from tstitch_search.quality.joint import shown_together
from tstitch_search.quality.metrics import metric_named
from tstitch_search.quality.metrics.metric import Metric
from tstitch_search.quality.reference import Reference
from tstitch_search.study_run.evaluation import LEVEL
from tstitch_search.study_run.folder import environment
from tstitch_search.study_run.until_lossless import MOST_TIMES, planned

RESULTS = Path(__file__).parent / "results"
TEXTS, N, MARGIN, STEP = ("S*16-XL*4", "S*12-XL*8", "S*8-XL*12"), 100, 0.05, 100
SHARES = (0.0, 0.5, 1.0, 1.5)  # of the margin, that every entry loses
OFF, SHARED = 0.5, 0.97  # how far the anchor's mean feature lies from the reference's; noise in common

# From a generator, a loss and a number of images: the values of the entries and of the anchor.
Drawn = Callable[[np.random.Generator, float, int], tuple[list[np.ndarray], np.ndarray]]


def pairs(rng: np.random.Generator, loss: float, n: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Distances to the anchor's images; they need not be positive here."""
    common = rng.normal(size=n)
    return [loss + 6 * MARGIN * (0.6 * common + 0.8 * rng.normal(size=n)) for _ in TEXTS], np.zeros(n)


def features(rng: np.random.Generator, loss: float, n: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Features whose FIDs differ by `loss` in the mean: one covariance, and squared means that differ by it."""
    common, d = rng.normal(size=(n, 8)), np.eye(8)[0]
    further = (OFF**2 + loss) ** 0.5
    own = [SHARED * common + (1 - SHARED**2) ** 0.5 * rng.normal(size=(n, 8)) + further * d for _ in TEXTS]
    return own, common + OFF * d


def study(metric: Metric, reference: Reference | None, drawn: Drawn, loss: float, seed: int) -> tuple[str, int]:
    """How one study ends: `confirmed`, `later` or `not shown`; and how many further images of entries it made."""
    rng, statistic = np.random.default_rng(seed), metric.bind(reference)

    def judged(own: np.ndarray, anchor: np.ndarray) -> QualityEstimate:
        return estimate(measured(metric, statistic, own), measured(metric, statistic, anchor), metric)

    entries, anchor = drawn(rng, loss, N)
    seen = [judged(own, anchor) for own in entries]
    if shown_together({i: q.p_of_loss(MARGIN) for i, q in enumerate(seen)}, LEVEL / 2):
        return "confirmed", 0
    n_further = 0
    further, alone = drawn(rng, loss, MOST_TIMES * N)
    for pursued in planned(table_of(seen), metric, MARGIN, 0.0, STEP, MOST_TIMES * N):
        own = further[TEXTS.index(str(pursued.allocation))]
        for n in pursued.looks:
            pursued = pursued.after(judged(own[:n], alone[:n]))
            if not pursued.is_open:
                break
        n_further += pursued.seen[-1].n_images
        if pursued.outcome == "shown":
            return "later", n_further
    return "not shown", n_further


def table_of(seen: list[QualityEstimate]) -> LookupTable:
    """A front of the entries, whatever was drawn: the plan goes by differences alone."""
    entries = [
        LookupEntry(
            allocation=Allocation.parse(text),
            latency_s=float(i + 1),
            latency_s_se=0.0,
            latency_s_predicted=float(i + 1),
            quality=float(-i),
            quality_se=q.se,
            n_images=q.n_images,
            peak_memory_mb=None,
            quality_difference=q.difference,
            quality_difference_se=q.difference_se,
        )
        for i, (text, q) in enumerate(zip(TEXTS, seen, strict=True))
    ]
    about = {"largest": "XL", "largest_latency_s": 9.0}
    return LookupTable("simulated", (OperatingPoint("default", "none", 1),), tuple(entries), (), about)


def row(
    name: str, metric: Metric, reference: Reference | None, drawn: Drawn, share: float, n: int
) -> dict[str, object]:
    """One kind of metric at one loss, over `n` studies."""
    ends = [study(metric, reference, drawn, share * MARGIN, seed) for seed in range(n)]
    confirmed, later = (float(np.mean([end == kind for end, _ in ends])) for kind in ("confirmed", "later"))
    shown = confirmed + later
    images = [made for end, made in ends if end != "confirmed"]
    return {
        "metric": name,
        "loss": share,
        "confirmed": confirmed,
        "shown": shown,
        "se": (shown * (1 - shown) / n) ** 0.5,
        "further_images": float(np.mean(images)) if images else 0.0,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=1000)
    n = parser.parse_args().studies
    real = Reference.of_features(np.random.default_rng(0).normal(size=(50_000, 8)).astype(np.float32))
    kinds = (
        ("per pair", metric_named("perceptual"), None, pairs),
        ("FID", metric_named("fid"), real, features),
    )
    rows = [row(*kind, share, n) for kind in kinds for share in SHARES]
    command = f"OMP_NUM_THREADS=1 python benchmarks/until_lossless.py {' '.join(sys.argv[1:])}".strip()
    document = {"n_studies": n, "command": command, "rows": rows, "environment": environment()}
    (RESULTS / "until_lossless.json").write_text(json.dumps(document, indent=2) + "\n")
    (RESULTS / "until_lossless.md").write_text(page(document))


def page(document: dict) -> str:
    lines = [
        f"| {r['metric']} | {r['loss']:g} margins | {r['confirmed']:.1%} | {r['shown']:.1%} ± {r['se']:.1%} | "
        f"{r['further_images']:.0f} |"
        for r in document["rows"]
    ]
    return "\n".join(
        [
            "# Until lossless: how often an entry is called so",
            "",
            f"`{document['command']}`, {document['n_studies']:,} simulated studies a row.",
            "Three entries that all lose the same, confirmed with 100 images each; at most 800 further ones of one.",
            "At a loss of one margin or more any verdict is wrong, and 5 % of studies are allowed one. ± is one",
            "standard error.",
            "",
            "| metric | loss | shown by the confirmation | shown in the end | further images, where it was not |",
            "|---|---|---|---|---|",
            *lines,
            "",
        ]
    )


if __name__ == "__main__":
    main()
