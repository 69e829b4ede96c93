"""Which queued job a worker does next. No more than a wish: whoever is idle takes what there is."""

from collections.abc import Iterable
from itertools import islice

from tstitch_search.allocation import Allocation
from tstitch_search.measurement import Job, MakeChunk

# Jobs that are looked at, so that a long queue costs no time.
WINDOW = 5000


def next_job(jobs: Iterable[Job], last: Job | None) -> int:
    """Position of the job that has most in common with the worker's last one; the first when none has anything.

    What counts is the same chunk, then the number of steps from the noise end that are the same: those denoiser calls
    are still in the worker's memory. So a queue full of allocations is worked off chunk by
    chunk, and within a chunk branch by branch of the tree that the allocations make.
    """
    if not isinstance(last, MakeChunk):
        return 0
    best, most = 0, -1
    for i, job in enumerate(islice(jobs, WINDOW)):
        if isinstance(job, MakeChunk) and job.chunk == last.chunk:
            n = n_steps_in_common(job.allocation, last.allocation)
            best, most = (i, n) if n > most else (best, most)
    return best


def n_steps_in_common(a: Allocation, b: Allocation) -> int:
    """How many steps from the noise end both give to the same denoisers; 0 where steps do not lie alike."""
    n = 0
    if (a.n_steps, a.profile) != (b.n_steps, b.profile):
        return n
    for one, other in zip(a.segments, b.segments, strict=False):
        if one.denoiser != other.denoiser:
            break
        n += min(one.n_steps, other.n_steps)
        if one.n_steps != other.n_steps:
            break
    return n
