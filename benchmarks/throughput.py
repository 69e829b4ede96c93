"""Images per second of two workers against one, one thread each, on the zoo. Writes results/throughput.json.

    uv run python benchmarks/throughput.py

All chunks are of one allocation: the bench spreads them over the workers. Needs a calm machine with two cores.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from statistics import median

from tstitch_search.allocation import Allocation
from tstitch_search.config import load_study
from tstitch_search.ledger import Ledger
from tstitch_search.measurement import chunks_of
from tstitch_search.progress import Silent
from tstitch_search.quality.feature_store import FeatureStore
from tstitch_search.study_run.folder import environment
from tstitch_search.study_run.preparation.pool import open_pool
from tstitch_search.study_run.workbench import Workbench

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"
MIXED, WARM_UP = Allocation.parse("S*8-XL*12"), Allocation.parse("S*20")


def images_per_second(n_workers: int, n_images: int, chunk_size: int) -> float:
    """Of one pool, its start and each worker's first chunk left out."""
    settings = [f"workers.n_workers={n_workers}", "workers.cpus_per_worker=1", "workers.pool=ray", "workers.device=cpu"]
    study = load_study(ROOT / "studies" / "small_first.yaml", settings)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        store = FeatureStore(folder / "features", {})
        with Ledger(folder / "ledger.jsonl") as ledger, Workbench(open_pool(study), ledger, store, Silent()) as bench:
            bench.make([(WARM_UP, chunks_of("search", 4 * n_workers, 4))])
            started = time.perf_counter()
            bench.make([(MIXED, chunks_of("search", n_images, chunk_size))])
            return n_images / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n-images", type=int, default=400)
    parser.add_argument("--chunk-size", type=int, default=25)
    parser.add_argument("--repeats", type=int, default=3, help="interleaved, so that a drift of the machine hits both")
    given = parser.parse_args()
    load_before = os.getloadavg()[0]
    rates: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(given.repeats):
        for n_workers, found in rates.items():
            found.append(images_per_second(n_workers, given.n_images, given.chunk_size))
    result = {
        "images_per_second": {str(n): found for n, found in rates.items()},
        "speed_up": median(b / a for a, b in zip(rates[1], rates[2], strict=True)),
        "load_before": load_before,
        "settings": vars(given),
        "environment": environment(),
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "throughput.json").write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
