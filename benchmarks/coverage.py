"""Do the error bars tell the truth on real images? Writes results/coverage.{json,md}.

    uv run python benchmarks/coverage.py --landscape FOLDER

FOLDER holds the features of every allocation (benchmarks/make_landscape.py). The images are cut into disjoint blocks of
n: each block gives every allocation an FID, a paired difference to the largest denoiser and the jackknife's interval of
both. The truth an interval is held against is the expected FID at n, the mean over the other blocks. Coverage is pooled
over allocations; since all share their images, its error is clustered by block.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from tstitch_search.quality.frechet import FrechetDistance
from tstitch_search.quality.jackknife import Jackknifed, jackknifed
from tstitch_search.quality.reference import load_reference
from tstitch_search.study_run.folder import environment

RESULTS = Path(__file__).parent / "results"
N_IMAGES = (100, 250, 500)
ANCHOR = "XLx20"
Z_90 = 1.6449


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--landscape", type=Path, required=True, help="folder of recorded features")
    folder = parser.parse_args().landscape
    distance = FrechetDistance(load_reference("reference.npz", folder))
    features = {path.stem: np.load(path) for path in sorted(folder.glob("*.npy"))}
    document = {
        "n_allocations": len(features),
        "n_images_in_all": len(features[ANCHOR]),
        "rows": [row for n in N_IMAGES for row in rows(distance, features, n)],
        "environment": environment(),
    }
    (RESULTS / "coverage.json").write_text(json.dumps(document, indent=2) + "\n")
    (RESULTS / "coverage.md").write_text(page(document))


def rows(distance: FrechetDistance, features: dict[str, np.ndarray], n: int) -> list[dict]:
    """Coverage of the FID itself and of its paired difference, at blocks of n images."""
    n_blocks = len(features[ANCHOR]) // n
    measured = {
        name: [jackknifed(distance, x[i * n : (i + 1) * n]) for i in range(n_blocks)] for name, x in features.items()
    }
    levels = list(measured.values())
    paired = [
        [own.minus(anchor) for own, anchor in zip(blocks, measured[ANCHOR], strict=True)]
        for name, blocks in measured.items()
        if name != ANCHOR
    ]
    return [
        {"n": n, "of": what, "n_blocks": n_blocks, "n_pooled": n_blocks * len(found), **coverage(found)}
        for what, found in (("FID", levels), ("paired difference to the largest", paired))
    ]


def coverage(found: list[list[Jackknifed]]) -> dict:
    """Share of nominal 90 % intervals that hold the mean of the other blocks, which has an error of its own."""
    values, errors = (np.array([[getattr(f, key) for f in blocks] for blocks in found]) for key in ("value", "se"))
    n_blocks = values.shape[1]
    others = (values.sum(axis=1, keepdims=True) - values) / (n_blocks - 1)
    widened = Z_90 * errors * np.sqrt(1 + 1 / (n_blocks - 1))
    covered = np.abs(values - others) < widened
    by_block = covered.mean(axis=0)
    return {
        "covered": float(covered.mean()),
        "covered_se": float(by_block.std(ddof=1) / np.sqrt(n_blocks)),
        "se_over_sd": float(np.sqrt((errors**2).mean()) / np.sqrt(values.var(axis=1, ddof=1).mean())),
    }


def page(document: dict) -> str:
    """The results as Markdown."""
    lines = [
        "# Coverage of the jackknife's intervals on real images",
        "",
        f"The zoo's {document['n_allocations']} allocations, {document['n_images_in_all']:,} images each, cut into",
        "disjoint blocks of n. Nominal coverage is 90 %; the error of the coverage is clustered by block, because all",
        "allocations share their images. `SE / SD` is the jackknife's standard error over the standard deviation",
        "between blocks: above 1 it is cautious.",
        "Command: `uv run python benchmarks/coverage.py --landscape FOLDER`.",
        "",
        "| n | interval of | blocks | pooled | covered | SE / SD |",
        "|---|---|---|---|---|---|",
    ]
    for r in document["rows"]:
        covered = f"{100 * r['covered']:.1f} ± {100 * r['covered_se']:.1f} %"
        lines.append(
            f"| {r['n']} | {r['of']} | {r['n_blocks']} | {r['n_pooled']} | {covered} | {r['se_over_sd']:.2f} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
