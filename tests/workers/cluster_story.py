"""A program: three nodes, of which one is killed while it makes a chunk, and a fourth that joins and makes chunks."""

import sys
import tempfile
import time
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import measurers
import pytest
from measurers import ArithmeticMeasurer, make_chunk

from tstitch_search.errors import EnvironmentProblem
from tstitch_search.measurement import Answer, Finished, Job, MakeChunk, TimeAllocations
from tstitch_search.workers.ray_pool import RayPool
from tstitch_search.workers.ray_session import ray

STORE_BYTES = 80 * 2**20


class Diarist(ArithmeticMeasurer):
    """Notes which node began which chunk; its device is named by its node."""

    def __init__(self, diary: Path) -> None:
        super().__init__()
        self._diary = diary
        self.node = ray.get_runtime_context().get_node_id()
        self.device = f"node {self.node}"

    def do(self, job: Job) -> Answer:
        assert isinstance(job, MakeChunk)
        (self._diary / f"{self.node} {job.chunk.first}").touch()
        return super().do(job)


def until(happens, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


def main(diary: Path) -> None:
    from ray.cluster_utils import Cluster

    for module in (measurers, sys.modules[__name__]):
        ray.cloudpickle.register_pickle_by_value(module)
    cluster = Cluster(True, head_node_args={"num_cpus": 1, "object_store_memory": STORE_BYTES})
    doomed, _ = [cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES) for _ in range(2)]
    pool = RayPool(partial(Diarist, diary), 3, address=cluster.address, is_elastic=True)
    loaded = pool.start()
    jobs = [make_chunk("Slow*1", first) for first in range(0, 160, 4)]
    for job in jobs:
        pool.submit(job)
    finished: list[Finished] = []

    def is_at_work(node: str) -> bool:
        """Whether the node has begun a chunk that has not come back."""
        finished.extend(pool.wait(0.05))
        begun = {int(page.name.split()[1]) for page in diary.iterdir() if page.name.startswith(node)}
        return bool(begun - {done.job.chunk.first for done in finished})

    until(lambda: is_at_work(doomed.node_id))
    cluster.remove_node(doomed, allow_graceful=False)
    in_flight = {int(p.name.split()[1]) for p in diary.iterdir() if p.name.startswith(doomed.node_id)}
    in_flight -= {done.job.chunk.first for done in finished}
    assert in_flight, "a chunk was in flight on the node that was killed"
    joined = cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES)
    while pool.n_in_flight:
        finished += pool.wait(5)
    loaded += pool.reloads()
    by_node = {one.worker: one.device for one in loaded}
    made_by_joined = [done for done in finished if by_node[done.worker] == f"node {joined.node_id}"]
    assert made_by_joined, "the node that joined finished a chunk"
    assert sorted(done.job.chunk.first for done in finished) == [job.chunk.first for job in jobs]
    assert all(done.error is None for done in finished)
    remade = {done.job.chunk.first: by_node[done.worker] for done in finished if done.job.chunk.first in in_flight}
    assert all(device != f"node {doomed.node_id}" for device in remade.values())
    with pytest.raises(EnvironmentProblem, match="different devices"):
        pool.submit(TimeAllocations((jobs[0].allocation,), 3))
    pool.close()
    cluster.shutdown()
    print("all told")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        main(Path(folder))
