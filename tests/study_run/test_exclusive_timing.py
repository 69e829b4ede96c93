"""While something is timed nothing else of ours runs, whatever was asked for before and after."""

import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from tstitch_search.allocation import Allocation
from tstitch_search.ledger import Ledger
from tstitch_search.measurement import (
    AllocationTime,
    AllocationTimes,
    Answer,
    ChunkFeatures,
    Job,
    MakeChunk,
    TimeAllocations,
    chunks_of,
)
from tstitch_search.progress import Silent
from tstitch_search.quality.feature_store import FeatureStore
from tstitch_search.study_run.workbench import Workbench
from tstitch_search.workers import WorkerPool
from tstitch_search.workers.inline import InlinePool

MIXED, SMALL = Allocation.parse("S*2-XL*2"), Allocation.parse("S*4")
CHUNKS = chunks_of("search", 60, 10)


class Diarist:
    """Takes a moment for each job, and notes its kind, start and end (on the machine's clock) in a file of its own."""

    device = "diary"

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def load(self) -> dict[str, float]:
        return {}

    def do(self, job: Job) -> Answer:
        start = time.monotonic_ns()
        time.sleep(0.05)
        page = self._folder / f"{start}.txt"
        page.write_text(f"{type(job).__name__} {start} {time.monotonic_ns()}")
        if isinstance(job, MakeChunk):
            return ChunkFeatures({"features": np.zeros((job.chunk.n_images, 2), np.float32)}, 0.05)
        assert isinstance(job, TimeAllocations)
        return AllocationTimes(tuple(AllocationTime((1.0,) * 3, (1.0,) * 3, 1.0) for _ in job.allocations))


def inline(folder: Path) -> WorkerPool:
    return InlinePool(partial(Diarist, folder))


def ray(folder: Path) -> WorkerPool:
    from tstitch_search.workers.ray_pool import RayPool
    from tstitch_search.workers.ray_session import ray

    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    return RayPool(partial(Diarist, folder), n_workers=2)


@pytest.mark.parametrize("open_pool", [inline, ray])
def test_no_chunk_is_made_while_something_is_timed(open_pool: Callable[[Path], WorkerPool], tmp_path: Path) -> None:
    diary = tmp_path / "diary"
    diary.mkdir()
    store, progress = FeatureStore(tmp_path / "features", {}), Silent()
    with Ledger(tmp_path / "ledger.jsonl") as ledger, Workbench(open_pool(diary), ledger, store, progress) as bench:
        bench.request(MIXED, CHUNKS)
        bench.alone(TimeAllocations((MIXED,), 3))
        bench.request(SMALL, CHUNKS)
        bench.alone(TimeAllocations((SMALL,), 3))
        bench.make([(Allocation.parse("XL*4"), CHUNKS)])
    jobs = [(kind, int(start), int(end)) for kind, start, end in (p.read_text().split() for p in diary.iterdir())]
    timed = [job for job in jobs if job[0] == "TimeAllocations"]
    assert (len(timed), len(jobs)) == (2, 2 + 3 * len(CHUNKS))
    for job in timed:
        overlapping = [other for other in jobs if other is not job and other[1] < job[2] and job[1] < other[2]]
        assert overlapping == []
