"""Who does the work: workers that hold the members for a whole run, behind one protocol."""

from typing import Literal

from tstitch_search.workers.inline import InlinePool
from tstitch_search.workers.protocol import Measurer, MeasurerFactory, WorkerPool

__all__ = ["Measurer", "MeasurerFactory", "WorkerPool", "open_pool"]


def open_pool(
    kind: Literal["ray", "inline"],
    factory: MeasurerFactory,
    n_workers: int = 1,
    cpus_per_worker: int = 1,
    gpus_per_worker: float = 0,
) -> WorkerPool:
    """The pool of that kind, not started yet; ray is imported only here and only for `ray`.

    `inline` is always one worker with all of this machine.
    """
    if kind == "inline":
        return InlinePool(factory)
    from tstitch_search.workers.ray_pool import RayPool

    return RayPool(factory, n_workers, cpus_per_worker, gpus_per_worker)
