"""Does a search decide the same with all errors from one eigenproblem as with blocks left out one by one?

    OMP_NUM_THREADS=1 uv run python benchmarks/same_decisions.py [--seeds 3]

The recorded landscape of 66 S/B/XL allocations, its images simulated, is searched twice for every seed with the
default sampler, and confirmed: once as it is, once with every value that a jackknife needs computed by itself
(`FrechetDistance.summary` of the images that are left). Written: how many chunks were asked for, how many of them both
asked for, whether the same entries come out with the same verdicts. (Chunks under way together end in either order, so
that their order differs between two runs of the very same, too.) While searching, no other estimator of the error is
used: the influence function is not built in. Writes results/same_decisions.{json,md}.
"""

import argparse
import json
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path
from shutil import copy
from tempfile import TemporaryDirectory
from time import process_time

import numpy as np

from tstitch_search.config import load_study
from tstitch_search.ledger import read_events
from tstitch_search.progress import Silent
from tstitch_search.quality.frechet import FrechetDistance, Summary
from tstitch_search.study_run import Result, run_study
from tstitch_search.study_run.folder import environment
from tstitch_search.study_run.preparation.pool import open_pool

HERE = Path(__file__).parent
LANDSCAPE = HERE / "landscapes" / "fashion_dit_s_b_xl_66.csv"
STUDY = """\
name: twice
search_space: {name: twice, denoisers: [{name: S}, {name: B}, {name: XL}], n_steps: 20, grid: 0.1}
proxy_set: {chunk_size: 100}
measure: {recorded: table.csv, noise: 2%}
quality: {n_images: 500}
confirm: {n_images: 500, max_entries: 8}
latency: {batch_size: 100, n_repeats: 3}
workers: {pool: inline, n_workers: 1}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    n_seeds = parser.parse_args().seeds
    rows = []
    for seed in range(n_seeds):
        rows.append(compared(seed))
        print(rows[-1], flush=True)
        document = {"rows": rows, "environment": environment()}
        (HERE / "results" / "same_decisions.json").write_text(json.dumps(document, indent=2) + "\n")
        (HERE / "results" / "same_decisions.md").write_text(page(document))


def compared(seed: int) -> dict[str, float | bool]:
    """Both searches of one seed."""
    (asked, result, seconds), (asked_before, before, seconds_before) = searched(seed), searched(seed, one_by_one=True)
    alike = len(asked & asked_before)
    entries, entries_before = (
        [(str(e.allocation), e.lossless, e.group) for e in r.table.entries] for r in (result, before)
    )
    return {
        "seed": seed,
        "chunks": len(asked),
        "chunks_one_by_one": len(asked_before),
        "alike": alike,
        "same_entries": entries == entries_before,
        "seconds": seconds,
        "seconds_one_by_one": seconds_before,
    }


def searched(seed: int, *, one_by_one: bool = False) -> tuple[set[tuple[str, str, int]], Result, float]:
    """The chunks that were asked for, the result, and the processor seconds of this process."""
    with TemporaryDirectory() as place:
        folder = Path(place)
        copy(LANDSCAPE, folder / "table.csv")
        (folder / "study.yaml").write_text(STUDY)
        study = load_study(folder / "study.yaml", [f"proxy_set.seed={seed}"])
        began = process_time()
        with blocks_one_by_one() if one_by_one else as_it_is():
            result = run_study(study, folder / "run", open_pool, Silent())
        spent = process_time() - began
        events = [e for e in read_events(folder / "run" / "ledger.jsonl") if e["event"] == "chunk"]
        return {(e["allocation"], e["set"], e["first"]) for e in events}, result, spent


@contextmanager
def as_it_is():
    """Nothing is changed."""
    yield


@contextmanager
def blocks_one_by_one():
    """Every value with images left out is computed of the others by itself."""
    usual = FrechetDistance._without

    def slowly(self: FrechetDistance, features: np.ndarray, sets: Sequence[np.ndarray]) -> list[Summary]:
        rest = [np.delete(features, images, axis=0) for images in sets]
        return [self.summary(features), *map(self.summary, rest)]

    FrechetDistance._without = slowly  # type: ignore[method-assign]
    try:
        yield
    finally:
        FrechetDistance._without = usual  # type: ignore[method-assign]


def page(document: dict) -> str:
    """The results as Markdown."""
    rows = [
        f"| {r['seed']} | {r['chunks']} | {r['chunks_one_by_one']} | {r['alike']} | "
        f"{'yes' if r['same_entries'] else 'no'} | {r['seconds']:.0f} | {r['seconds_one_by_one']:.0f} |"
        for r in document["rows"]
    ]
    return "\n".join(
        [
            "# The same search with errors from one eigenproblem, and one by one",
            "",
            "66 recorded S/B/XL allocations, images simulated; the default sampler, 500 images at most each.",
            "*In common*: chunks (allocation and images) that both searches asked for, their confirmations included.",
            "",
            "| seed | chunks | one by one | in common | same entries and verdicts | seconds | seconds, one by one |",
            "|---|---|---|---|---|---|---|",
            *rows,
            "",
            f"`OMP_NUM_THREADS=1 python benchmarks/same_decisions.py`, {document['environment']['platform']}.",
            "",
        ]
    )


if __name__ == "__main__":
    main()
