"""A program: a pool on a Ray that is reached through its client server, as `ray://HOST:PORT` in its one argument."""

import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import measurers
import numpy as np
from measurers import ArithmeticMeasurer, HangingOnce, features_of, make_chunk

from tstitch_search.errors import EnvironmentProblem
from tstitch_search.workers.ray_pool import RayPool
from tstitch_search.workers.ray_session import ray


def main(address: str, flag: Path) -> None:
    ray.cloudpickle.register_pickle_by_value(measurers)
    until_it_answers(address)
    jobs = [make_chunk(name, first) for name in ("Slow*1", "S*3") for first in range(0, 12, 4)]
    done = finish_all(lambda: RayPool(ArithmeticMeasurer, 2, address=address), jobs)
    assert sorted(map(str, (one.job for one in done))) == sorted(map(str, jobs))
    assert all(np.array_equal(one.answer.arrays["features"], features_of(one.job)) for one in done)
    assert {one.worker for one in done} == {"worker-0", "worker-1"}

    (again,) = finish_all(lambda: RayPool(partial(HangingOnce, flag), 1, job_timeout_s=2, address=address), jobs[:1])
    assert again.error is None
    assert again.worker == "worker-1"
    print("all told")


def until_it_answers(address: str) -> None:
    """Wait for a client server that listens already: it may take longer than Ray's client tries."""
    for patience_s in (1, 5, 10, None):
        try:
            ray.init(address, log_to_driver=False)
        except ConnectionError:
            if patience_s is None:
                raise
            time.sleep(patience_s)
        else:
            ray.shutdown()
            return


def started(make_pool: Callable[[], RayPool]) -> RayPool:
    """A pool that has started: on a busy machine the process that Ray starts for a client may die at once."""
    for patience_s in (1, 5, None):
        pool = make_pool()
        try:
            pool.start()
        except EnvironmentProblem:
            if patience_s is None:
                raise
            time.sleep(patience_s)
        else:
            break
    return pool


def finish_all(make_pool: Callable[[], RayPool], jobs: list) -> list:
    """What became of the jobs."""
    pool = started(make_pool)
    for job in jobs:
        pool.submit(job)
    done = []
    while pool.n_in_flight:
        done += pool.wait(5)
    pool.close()
    return done


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
