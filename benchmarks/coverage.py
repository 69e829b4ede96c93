"""Do the error bars tell the truth on real images? Writes results/coverage.{json,md}.

    OMP_NUM_THREADS=1 uv run python benchmarks/coverage.py [--pool 6000] [--replicates 400]

Images of three S/B allocations of the embedded family are made once, with the same seeds, and kept in build/coverage:
this pool is the population. Each replicate draws n of it with replacement, ten consecutive ones at a time, which hold
every label once, the same for all allocations. The truth is the expected value at n, the mean of the replicates.
Nominal 90 % intervals (Student's t with the error's degrees of freedom) of a FID, of its paired difference to the
anchor, of an inception score and of a paired metric per image; the error of a coverage is binomial, of one
allocation's replicates.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.special import stdtrit

from tstitch_search.allocation import Allocation
from tstitch_search.config import load_study
from tstitch_search.kept_images import KeptImages
from tstitch_search.measure.measurer import StudyMeasurer
from tstitch_search.measurement import ChunkFeatures, MakeChunk, chunks_of
from tstitch_search.quality.jackknife import Jackknifed, jackknifed, jackknifed_mean
from tstitch_search.quality.metrics import metric_named
from tstitch_search.quality.reference import load_reference
from tstitch_search.study_run.folder import environment

ROOT = Path(__file__).parent.parent
RESULTS, BUILD = ROOT / "benchmarks" / "results", ROOT / "build" / "coverage"
ANCHOR, OTHERS = "B*20", ("S*10-B*10", "S*20")
SETTINGS = (
    f"quality.anchor={ANCHOR}",
    "quality.metrics=[inception_score, perceptual]",
    "workers.device_batch_size=100",
    "workers.device=cpu",
)
LABEL_CYCLE, Z_90 = 10, 1.6449
# What was measured for the first release that had errors.
EARLIER = (
    "Another measurement of the jackknife alone, on 20,000 images of each of six S/B allocations: FID 96.0 ± 0.9,",
    "94.0 ± 1.9 and 91.7 ± 2.8 %, paired difference 94.9 ± 0.9, 90.5 ± 2.2 and 90.5 ± 3.0 % at n = 100, 250 and 500",
    "(disjoint sets of images; no longer part of this script).",
)
Pool = dict[str, dict[str, np.ndarray]]
Found = dict[tuple[str, str], list[tuple[float, ...]]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pool", type=int, default=6000, help="images of each allocation")
    parser.add_argument("--replicates", type=int, default=400)
    parser.add_argument("--n", type=int, nargs="+", default=[100, 250, 500, 1000], help="images of a replicate")
    arguments = parser.parse_args()
    pool = pool_of(arguments.pool)
    document = {
        "n_pool": arguments.pool,
        "n_replicates": arguments.replicates,
        "command": f"OMP_NUM_THREADS=1 python benchmarks/coverage.py {' '.join(sys.argv[1:])}".strip(),
        "rows": [row for n in arguments.n for row in rows(pool, n, arguments.replicates)],
        "environment": environment(),
    }
    (RESULTS / "coverage.json").write_text(json.dumps(document, indent=2) + "\n")
    (RESULTS / "coverage.md").write_text(page(document))


def pool_of(n: int, others: Sequence[str] = OTHERS) -> Pool:
    """Arrays (n, ...) by allocation and name, made chunk by chunk; what is there is not made again."""
    measurer, chunks = None, chunks_of("search", n, 500)
    found: dict[str, list[dict[str, np.ndarray]]] = {}
    for chunk in chunks:
        against = None
        for text in (ANCHOR, *others):
            allocation = Allocation.parse(text)
            file = BUILD / f"{allocation.file_name}_{chunk.first}_{chunk.last}.npz"
            if not file.exists():
                measurer = measurer or loaded()
                job = MakeChunk(allocation, chunk, against, is_anchor=text == ANCHOR)
                answer = measurer.do(job)
                assert isinstance(answer, ChunkFeatures)
                BUILD.mkdir(parents=True, exist_ok=True)
                kept = {} if answer.images is None else {"images": KeptImages.write(BUILD, answer.images).sha256}
                np.savez(file, **answer.arrays, **kept)
                print(f"{allocation} {chunk.last} of {n}", flush=True)
            arrays = dict(np.load(file))
            if text == ANCHOR:
                sha256 = str(arrays.pop("images"))
                against = KeptImages(KeptImages.place(BUILD, sha256), sha256)
            found.setdefault(text, []).append(arrays)
    return {
        text: {name: np.concatenate([arrays[name] for arrays in made]) for name in made[0]}
        for text, made in found.items()
    }


def loaded() -> StudyMeasurer:
    measurer = StudyMeasurer(load_study(ROOT / "studies" / "small_first.yaml", SETTINGS), threads=1)
    measurer.load()
    return measurer


def rows(pool: Pool, n: int, n_replicates: int) -> list[dict]:
    """Coverage of every kind of number at n images."""
    reference = load_reference("zoo:fashion", ROOT)
    fid, score = (metric_named(name).bind(reference) for name in ("fid", "inception_score"))
    found: Found = {}
    for i in range(n_replicates):
        drawn = draw(len(pool[ANCHOR]["features"]), n, np.random.default_rng((n, i)))
        of_anchor = jackknifed(fid, pool[ANCHOR]["features"][drawn])
        for text in OTHERS:
            arrays = {name: array[drawn] for name, array in pool[text].items()}
            own = jackknifed(fid, arrays["features"])
            add(found, "FID", text, own)
            add(found, "paired difference of FID", text, own.minus(of_anchor))
            add(found, "inception score", text, jackknifed(score, arrays["logits"]))
            mean, by_image = (jackknifed_mean(arrays["perceptual"], cycle) for cycle in (LABEL_CYCLE, 1))
            add(found, "perceptual distance, per image", text, mean, by_image)
    print(f"n = {n}", flush=True)
    return [{"n": n, "of": what, "allocation": text, **coverage(np.array(x))} for (what, text), x in found.items()]


def add(found: Found, what: str, allocation: str, now: Jackknifed, before: Jackknifed | None = None) -> None:
    """Value, error and half an interval; then both as they were before second differences and cycles of labels."""
    before = before or Jackknifed(now.value, now.left_out, now.n_images)
    told = (now.value, now.se, -stdtrit(now.df, 0.05) * now.se, before.se, Z_90 * before.se)
    found.setdefault((what, allocation), []).append(told)


def draw(n_all: int, n: int, rng: np.random.Generator) -> np.ndarray:
    """Rows of n images, drawn with replacement in runs that hold every label once."""
    starts = LABEL_CYCLE * rng.integers(n_all // LABEL_CYCLE, size=n // LABEL_CYCLE)
    return (starts[:, None] + np.arange(LABEL_CYCLE)).ravel()


def coverage(found: np.ndarray) -> dict[str, float]:
    """Share of intervals that hold the mean of the replicates, and standard error over standard deviation."""
    (values, errors, reach, errors_before, reach_before), n = found.T, len(found)
    covered, before = (float((np.abs(values - values.mean()) < r).mean()) for r in (reach, reach_before))
    ratios = [float(np.sqrt((e**2).mean()) / values.std(ddof=1)) for e in (errors, errors_before)]
    return {
        "covered": covered,
        "covered_se": float(np.sqrt(covered * (1 - covered) / n)),
        "se_over_sd": ratios[0],
        "covered_before": before,
        "se_over_sd_before": ratios[1],
    }


def page(document: dict) -> str:
    """The results as Markdown."""
    lines = [
        "# Coverage of nominal 90 % intervals on real images",
        "",
        f"{document['n_replicates']} replicates for each row, drawn with replacement from",
        f"{document['n_pool']:,} images of each allocation; the anchor is {ANCHOR}.",
        "± is the binomial error of the coverage. `SE / SD`: standard error over the standard deviation of the",
        "replicates; above 1 it is cautious. *Before*, on the same replicates: the jackknife alone, for a mean",
        "sd / √n, and the normal distribution's 1.645. At n = 100 and 250 the 20 blocks hold unequal numbers of each",
        "label, which counts as error.",
        "",
        "| n | interval of | allocation | covered | SE / SD | covered before | SE / SD before |",
        "|---|---|---|---|---|---|---|",
    ]
    for r in document["rows"]:
        covered = f"{100 * r['covered']:.1f} ± {100 * r['covered_se']:.1f} %"
        before = f"{100 * r['covered_before']:.1f} % | {r['se_over_sd_before']:.2f}"
        lines.append(f"| {r['n']} | {r['of']} | {r['allocation']} | {covered} | {r['se_over_sd']:.2f} | {before} |")
    lines += ["", *EARLIER]
    machine = document["environment"]
    return "\n".join([*lines, "", f"`{document['command']}`, {machine['platform']}.", ""])


if __name__ == "__main__":
    main()
