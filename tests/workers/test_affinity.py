"""Who does which job next: a queue of allocations is worked off so that no shared beginning is made twice."""

from collections import deque

from hypothesis import given
from hypothesis import strategies as st

from tstitch_search.allocation import Allocation
from tstitch_search.measurement import Chunk, Job, MakeChunk, MakeImages
from tstitch_search.sampling.stitching.prefixes import calls_of
from tstitch_search.workers.affinity import n_steps_in_common, next_job

allocations = st.lists(st.sampled_from("SBX"), min_size=5, max_size=5).map(
    lambda names: Allocation.of((name, 1) for name in names)
)
chunks = st.sampled_from([Chunk("search", i, i + 2) for i in (0, 2, 4)])


@given(st.lists(st.tuples(allocations, chunks), min_size=1, max_size=20, unique=True))
def test_one_worker_with_room_for_one_trajectory_makes_every_shared_beginning_once(
    jobs: list[tuple[Allocation, Chunk]],
) -> None:
    queue, last, order = [MakeChunk(*job) for job in jobs], None, []
    while queue:
        last = queue.pop(next_job(queue, last))
        order.append((last.allocation, last.chunk))
    assert sorted(order) == sorted(jobs)
    assert calls_of(order, limit_calls=5).made == calls_of(jobs, limit_calls=10**6).made


@given(allocations, allocations)
def test_steps_in_common_are_those_up_to_where_the_two_part(a: Allocation, b: Allocation) -> None:
    parted = [i for i, (x, y) in enumerate(zip(a.by_step, b.by_step, strict=True)) if x != y]
    assert n_steps_in_common(a, b) == n_steps_in_common(b, a) == (parted[0] if parted else 5)


def test_trajectories_of_different_length_have_no_step_in_common() -> None:
    assert n_steps_in_common(Allocation.parse("S*4"), Allocation.parse("S*5")) == 0


def test_without_anything_in_common_the_first_in_the_queue_comes_next() -> None:
    a = Allocation.parse("S*5")
    queue: deque[Job] = deque([MakeImages(a, Chunk("search", 0, 2)), MakeChunk(a, Chunk("search", 2, 4))])
    assert next_job(queue, None) == 0
    assert next_job(queue, MakeChunk(a, Chunk("confirm", 2, 4))) == 0
    assert next_job(queue, MakeChunk(a, Chunk("search", 2, 4))) == 1
