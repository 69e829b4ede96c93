"""What every pool promises, asked of both; then what only processes can show: death, replacement, isolation."""

import os
import signal
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import measurers
import numpy as np
import pytest
from measurers import MISSING_WEIGHTS, ArithmeticMeasurer, FailingOnce, HangingOnce, Unloadable, features_of, make_chunk
from processes import is_loopback, listening_addresses, process_tree

from tstitch_search.errors import EnvironmentProblem, TStitchError
from tstitch_search.measurement import Finished, Job, Loaded
from tstitch_search.workers import MeasurerFactory, WorkerPool
from tstitch_search.workers.inline import InlinePool
from tstitch_search.workers.ray_pool import RayPool
from tstitch_search.workers.ray_session import connect, ray

ray.cloudpickle.register_pickle_by_value(measurers)  # a worker process cannot import it

SIGTERM_HANDLER = signal.getsignal(signal.SIGTERM)  # before Ray starts


@pytest.fixture(scope="module")
def ray_started() -> Iterator[None]:
    """One Ray for all tests here; pools find it running and leave it so."""
    connect(n_cpus=2)
    yield
    ray.shutdown()


@pytest.fixture(scope="class", params=["inline", "ray"])
def kind(request: pytest.FixtureRequest) -> str:
    if request.param == "ray":
        request.getfixturevalue("ray_started")
    return request.param


def new_pool(kind: str, factory: MeasurerFactory) -> WorkerPool:
    return InlinePool(factory) if kind == "inline" else RayPool(factory, n_workers=2)


def finish(pool: WorkerPool, *jobs: Job) -> list[Finished]:
    """Submit the jobs and collect what comes back until nothing is in flight."""
    for job in jobs:
        pool.submit(job)
    finished: list[Finished] = []
    while pool.n_in_flight:
        finished += pool.wait(timeout_s=5)
    return finished


def pid_of(loaded: Loaded) -> int:
    return int(loaded.device.split()[1].rstrip(","))


@pytest.fixture(scope="class")
def started(kind: str) -> Iterator[tuple[WorkerPool, list[Loaded]]]:
    """A pool of each kind, shared by a class of tests, and what `start` said."""
    pool = new_pool(kind, ArithmeticMeasurer)
    yield pool, pool.start()
    pool.close()


@pytest.fixture
def pool(started: tuple[WorkerPool, list[Loaded]]) -> WorkerPool:
    return started[0]


class TestEveryPool:
    def test_start_says_what_each_worker_holds(self, started: tuple[WorkerPool, list[Loaded]]) -> None:
        pool, loaded = started
        assert (
            len(loaded) == pool.n_workers == len({one.worker for one in loaded}) == len({pid_of(one) for one in loaded})
        )
        assert all(one.load_s == {"S": 0.25, "XL": 0.5} for one in loaded)

    def test_every_job_comes_back_exactly_once_with_its_own_answer(self, pool: WorkerPool) -> None:
        jobs = [make_chunk("S*3", first) for first in range(0, 28, 4)]
        again = jobs[0]
        finished = finish(pool, *jobs, again)
        assert Counter(done.job for done in finished) == Counter([*jobs, again])
        for done in finished:
            assert done.error is None
            np.testing.assert_array_equal(done.answer.arrays["features"], features_of(done.job))

    def test_an_answer_belongs_to_the_driver_and_may_be_changed(self, pool: WorkerPool) -> None:
        [done] = finish(pool, make_chunk("S*3", n_images=100))
        done.answer.arrays["features"][:] = 0

    def test_a_raising_job_gives_its_message_and_the_pool_goes_on(self, pool: WorkerPool) -> None:
        finished = finish(pool, make_chunk("Raise*1"), make_chunk("S*1"), make_chunk("Raise*2"), make_chunk("S*2"))
        errors = {str(done.job.allocation): done.error for done in finished}
        assert errors["S*1"] is errors["S*2"] is None
        assert "ValueError: the arithmetic went wrong (" in errors["Raise*1"]
        assert "measurers.py, line" in errors["Raise*1"]
        assert all(done.answer is None for done in finished if done.error)

    def test_an_error_for_people_keeps_its_text_and_hint(self, pool: WorkerPool) -> None:
        [done] = finish(pool, make_chunk("Refuse*1"))
        assert done.error == "the latents are not finite\n  try: float32"

    def test_in_flight_is_what_was_submitted_and_not_yet_returned(self, pool: WorkerPool) -> None:
        for first in range(5):
            pool.submit(make_chunk("S*1", first))
        left = 5
        while left:
            assert pool.n_in_flight == left
            left -= len(pool.wait(timeout_s=5))
        assert pool.n_in_flight == 0
        assert pool.wait(timeout_s=5) == []

    def test_each_worker_loads_once_for_the_whole_run(self, pool: WorkerPool) -> None:
        finished = finish(pool, *[make_chunk("S*2", first) for first in range(6)])
        assert {done.answer.seconds for done in finished} == {1}
        assert pool.reloads() == []


class TestEveryPoolThatCannotGoOn:
    def test_a_load_failure_for_people_arrives_as_it_was_raised(self, kind: str) -> None:
        pool = new_pool(kind, partial(Unloadable, MISSING_WEIGHTS))
        with pytest.raises(EnvironmentProblem) as caught:
            pool.start()
        assert str(caught.value) == str(MISSING_WEIGHTS)
        pool.close()

    def test_any_other_load_failure_names_the_worker_and_keeps_the_message(self, kind: str) -> None:
        with pytest.raises(TStitchError, match=r"-0 could not load the members: OSError: zoo/xl: input/output error"):
            new_pool(kind, partial(Unloadable, OSError("zoo/xl: input/output error"))).start()

    def test_closing_forgets_queued_jobs_and_closing_twice_is_harmless(self, kind: str) -> None:
        pool = new_pool(kind, ArithmeticMeasurer)
        pool.start()
        for first in range(3):
            pool.submit(make_chunk("S*1", first))
        pool.close()
        assert pool.n_in_flight == 0
        pool.close()


def test_the_pool_without_processes_ends_with_the_device_and_says_why(tmp_path: Path) -> None:
    pool = InlinePool(partial(FailingOnce, tmp_path / "failed"))
    pool.start()
    pool.submit(make_chunk("S*1"))
    with pytest.raises(EnvironmentProblem, match="the device has failed"):
        pool.wait(1)


def start_mortal(factory: MeasurerFactory, n_workers: int, job_timeout_s: float = 60) -> tuple[RayPool, list[Loaded]]:
    pool = RayPool(factory, n_workers, job_timeout_s=job_timeout_s)
    return pool, pool.start()


@pytest.mark.usefixtures("ray_started")
class TestProcesses:
    def test_a_killed_worker_costs_a_retry_and_is_replaced(self) -> None:
        pool, loaded = start_mortal(ArithmeticMeasurer, 2)
        jobs = [make_chunk("Slow*1", first) for first in range(4)]
        for job in jobs:
            pool.submit(job)
        os.kill(pid_of(loaded[0]), signal.SIGKILL)
        finished = finish(pool)
        while not (reloads := pool.reloads()):  # the other worker may have done it all meanwhile
            finish(pool, make_chunk("Slow*1"))
        pool.close()
        [replacement] = reloads
        assert Counter(done.job for done in finished) == Counter(jobs)
        assert all(done.error is None for done in finished)
        assert (loaded[0].worker, loaded[1].worker, replacement.worker) == ("worker-0", "worker-1", "worker-2")
        assert pid_of(replacement) not in {pid_of(one) for one in loaded}

    def test_a_job_that_kills_its_worker_is_given_up_and_the_others_are_done_in_silence(
        self, capfd: pytest.CaptureFixture[str]
    ) -> None:
        pool, _ = start_mortal(ArithmeticMeasurer, 2)
        killer, *others = [make_chunk("Exit*1"), *(make_chunk("S*1", first) for first in range(6))]
        finished = {done.job: done.error for done in finish(pool, killer, *others)}
        reloads = pool.reloads()
        pool.close()
        assert "its worker died 3 times" in finished.pop(killer)
        assert finished == dict.fromkeys(others)
        assert {one.worker for one in reloads} <= {"worker-2", "worker-3", "worker-4"}
        assert capfd.readouterr() == ("", "")

    def test_a_hung_worker_is_stopped_and_its_job_done_by_another(self, tmp_path: Path) -> None:
        pool, _ = start_mortal(partial(HangingOnce, tmp_path / "hung"), 1, job_timeout_s=2)
        [done] = finish(pool, make_chunk("S*1"))
        pool.close()
        assert (done.worker, done.error) == ("worker-1", None)

    def test_a_worker_whose_device_fails_is_replaced_and_its_job_done_by_another(self, tmp_path: Path) -> None:
        pool, _ = start_mortal(partial(FailingOnce, tmp_path / "failed"), 1)
        [done] = finish(pool, make_chunk("S*1"))
        pool.close()
        assert (done.worker, done.error) == ("worker-1", None)

    @pytest.mark.slow
    def test_when_every_replacement_dies_too_the_pool_says_so(self) -> None:
        pool, _ = start_mortal(ArithmeticMeasurer, 1)
        with pytest.raises(EnvironmentProblem, match=r"no worker is left: worker-3 was lost: ActorDiedError"):
            finish(pool, make_chunk("Exit*1"), make_chunk("Exit*2"))
        pool.close()

    def test_the_drivers_own_sigterm_handler_stays(self) -> None:
        assert signal.getsignal(signal.SIGTERM) is SIGTERM_HANDLER

    def test_workers_that_do_not_fit_are_refused_before_they_wait_forever(self) -> None:
        with pytest.raises(EnvironmentProblem, match=r"2 worker\(s\) with 1 CPU and 100 GPU each do not fit: Ray has"):
            RayPool(ArithmeticMeasurer, 2, gpus_per_worker=100).start()


@pytest.mark.parametrize("kind", ["ray"], indirect=True)
class TestIsolation:
    def test_a_worker_without_a_share_of_a_gpu_sees_none(self, started: tuple[WorkerPool, list[Loaded]]) -> None:
        assert all(one.device.endswith("visible GPUs ''") for one in started[1])

    def test_a_worker_is_no_less_urgent_than_the_driver(self, started: tuple[WorkerPool, list[Loaded]]) -> None:
        assert all(f"niceness {os.nice(0)}," in one.device for one in started[1])

    @pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="reads Linux's table of sockets")
    def test_nothing_of_ours_listens_beyond_loopback(self, pool: WorkerPool) -> None:
        listening = listening_addresses(process_tree(os.getpid()))
        assert listening
        assert {address for address in listening if not is_loopback(address)} == set()
