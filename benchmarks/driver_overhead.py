"""What the driver itself takes per chunk, and how its memory grows. Writes results/driver_overhead.json.

    uv run python benchmarks/driver_overhead.py

The real bench and ledger on workers that answer at once, once without and once with feature files. Metrics are not in
it. The lines are on disk at the end of each measurement; a chunk is 100 images with 64 features each.
"""

import argparse
import json
import resource
import tempfile
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tstitch_search.allocation import Allocation
from tstitch_search.ledger import Ledger
from tstitch_search.measurement import Chunk, ChunkFeatures, Finished, Job, Loaded, MakeChunk, chunks_of
from tstitch_search.progress import Silent
from tstitch_search.quality.feature_store import FeatureStore
from tstitch_search.study_run.folder import environment
from tstitch_search.study_run.workbench import Workbench

RESULTS = Path(__file__).parent / "results"
CHUNK, D, AT_ONCE = 100, 64, 8
PER_ALLOCATION = 100


class InstantPool:
    """Workers that answer whatever was submitted, eight at a time."""

    n_workers = AT_ONCE

    def __init__(self) -> None:
        self._queue: deque[Job] = deque()
        self._answer = ChunkFeatures({"features": np.zeros((CHUNK, D), np.float32)}, 0.5)

    def start(self) -> list[Loaded]:
        return []

    def submit(self, job: Job) -> None:
        self._queue.append(job)

    @property
    def n_in_flight(self) -> int:
        return len(self._queue)

    def withdraw(self) -> None:
        self._queue.clear()

    def wait(self, timeout_s: float) -> list[Finished]:
        jobs = [self._queue.popleft() for _ in range(min(AT_ONCE, len(self._queue)))]
        return [Finished(job, "instant", self._answer) for job in jobs if isinstance(job, MakeChunk)]

    def reloads(self) -> list[Loaded]:
        return []

    def close(self) -> None: ...


class NoFiles(FeatureStore):
    """Keeps nothing, so that only the bookkeeping is left."""

    def write(self, allocation: Allocation, chunk: Chunk, arrays: Mapping[str, np.ndarray]) -> tuple[str, str]:
        return f"search/{allocation.file_name}/{chunk.first:06d}-{chunk.last:06d}.safetensors", "0" * 64


def measure(store_of: type[FeatureStore], n_chunks: int) -> dict[str, float]:
    """Seconds per chunk on the clock, and megabytes that the process grew by."""
    with tempfile.TemporaryDirectory() as scratch:
        folder, rss_before = Path(scratch), _peak_mb()
        store = store_of(folder / "features", {})
        with Ledger(folder / "ledger.jsonl") as ledger, Workbench(InstantPool(), ledger, store, Silent()) as bench:
            chunks = chunks_of("search", PER_ALLOCATION * CHUNK, CHUNK)
            started = time.perf_counter()
            for i in range(n_chunks // PER_ALLOCATION):
                bench.make([(Allocation.parse(f"S*{i + 1}-XL*1"), chunks)])
            ledger.sync()
            seconds = time.perf_counter() - started
        reopened = time.perf_counter()
        with Ledger(folder / "ledger.jsonl") as ledger:
            Workbench(InstantPool(), ledger, NoFiles(folder / "features", {}), Silent())
        return {
            "n_chunks": n_chunks,
            "ms_per_chunk": 1000 * seconds / n_chunks,
            "reopening_s": time.perf_counter() - reopened,
            "peak_growth_mb": _peak_mb() - rss_before,
        }


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", type=int, default=100_000, help="chunks without files")
    parser.add_argument("--n-files", type=int, default=2_000, help="chunks with files")
    given = parser.parse_args()
    small = measure(NoFiles, given.n // 10)
    found = {
        "bookkeeping_of_a_tenth": small,
        "bookkeeping": measure(NoFiles, given.n),
        "with_feature_files": measure(FeatureStore, given.n_files),
        "environment": environment(),
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "driver_overhead.json").write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
