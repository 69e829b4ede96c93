"""Times: with a clock that only the work itself moves on, every part comes out exactly."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import pytest
import torch

from tstitch_search.allocation import Allocation
from tstitch_search.errors import EnvironmentProblem
from tstitch_search.measure.clock import CpuClock, CudaClock, clock_of
from tstitch_search.measure.device import cpu_threads, device_name, resolve_device, timing_threads
from tstitch_search.measure.latency import calibrate, median_se, time_allocations, time_batch
from tstitch_search.measurement import Calibrate, TimeAllocations


class WorkClock:
    """A clock that stands still except where the work moves it on, and memory that only the work uses."""

    def __init__(self) -> None:
        self.now = 0.0
        self.memory_mb = 0.0

    def mark(self) -> float:
        return self.now

    def seconds_between(self, marks: Sequence[float]) -> list[float]:
        return [b - a for a, b in pairwise(marks)]

    def forget_peak_memory(self) -> None:
        self.memory_mb = 0.0

    def peak_memory_mb(self) -> float:
        return self.memory_mb


STEP_S = {"S": 1.0, "XL": 8.0}


class Work:
    """Batches of exactly known times: 0.5 s before the steps, per step what its denoiser takes, 0.25 s after them.

    `slow_down` multiplies everything in each further batch.
    """

    def __init__(self, clock: WorkClock, slow_down: float = 1.0):
        self.clock, self.slow_down = clock, slow_down
        self.batches: list[str] = []

    def __call__(self, allocation: Allocation, on_step: Callable[[int], None]) -> None:
        factor = self.slow_down ** len(self.batches)
        self.batches.append(str(allocation))
        self.clock.now += 0.5 * factor
        on_step(0)
        for done, name in enumerate(allocation.by_step, start=1):
            self.clock.now += STEP_S[name] * factor
            self.clock.memory_mb = max(self.clock.memory_mb, 100 * STEP_S[name])
            on_step(done)
        self.clock.now += 0.25 * factor


JOB = Calibrate(denoisers=("S", "XL"), n_steps=4, n_repeats=3)


def test_calibration_finds_each_denoisers_step_and_the_fixed_part_exactly() -> None:
    clock = WorkClock()
    found = calibrate(JOB, Work(clock), clock, "a device", batch_size=2)
    assert found.step_s == STEP_S
    assert found.fixed_s == 0.75
    assert found.step_se == {"S": 0.0, "XL": 0.0}
    assert (found.fixed_se, found.spread, found.peak_memory_mb) == (0.0, 0.0, 800.0)
    assert (found.device, found.batch_size, found.n_repeats) == ("a device", 2, 3)


def test_repeats_take_turns_after_one_warm_up_of_each_denoiser() -> None:
    work = Work(WorkClock())
    calibrate(JOB, work, work.clock, "", 1)
    assert work.batches == ["S*4", "XL*4"] * 4
    work.batches.clear()
    front = (Allocation.parse("S*1-XL*3"), Allocation.parse("S*4"))
    time_allocations(TimeAllocations(front, n_repeats=2), work, work.clock)
    assert work.batches == ["S*4", "XL*4", "S*1-XL*3", "S*4", "S*1-XL*3", "S*4"]


def test_every_timed_repeat_of_an_allocation_is_reported_whole_and_in_order() -> None:
    clock = WorkClock()
    front = (Allocation.parse("S*1-XL*3"), Allocation.parse("S*4"))
    mixed, small = time_allocations(TimeAllocations(front, n_repeats=3), Work(clock), clock).times
    assert mixed.seconds == (25.75,) * 3
    assert small.seconds == (4.75,) * 3
    assert (mixed.peak_memory_mb, small.peak_memory_mb) == (800.0, 100.0)


def test_a_drifting_machine_shows_in_spread_and_standard_errors() -> None:
    clock = WorkClock()
    found = calibrate(JOB, Work(clock, slow_down=1.5), clock, "", 1)
    assert found.spread > 0.5
    assert all(se > 0 for se in (*found.step_se.values(), found.fixed_se))
    assert found.step_s["S"] == 1.0 * 1.5**4  # the median repeat of S: batches 2, 4, 6


def test_a_step_that_was_held_up_counts_in_the_total_but_in_neither_part() -> None:
    clock = WorkClock()

    def run(allocation: Allocation, on_step: Callable[[int], None]) -> None:
        for done, seconds in enumerate((0.5, 1.0, 1.0, 9.0, 1.0)):
            clock.now += seconds
            on_step(done)

    batch = time_batch(Allocation.parse("S*4"), run, clock)
    assert (batch.total_s, batch.step_s, batch.fixed_s) == (12.5, 1.0, 0.5)


def test_the_standard_error_of_a_median_is_that_of_normal_values() -> None:
    values = torch.randn(2000, 9, dtype=torch.float64)
    true = float(values.numpy().std() * 1.2533 / 3)
    mean_estimate = sum(median_se(list(row)) for row in values.numpy()) / 2000
    assert mean_estimate == pytest.approx(true, rel=0.05)


def test_the_cpu_clock_moves_on_and_sees_the_process_memory() -> None:
    clock = clock_of(torch.device("cpu"))
    assert isinstance(clock, CpuClock)
    marks = [clock.mark() for _ in range(3)]
    assert len(clock.seconds_between(marks)) == 2
    assert all(s >= 0 for s in clock.seconds_between(marks))
    assert 50 < clock.peak_memory_mb() < 1e6


@pytest.mark.gpu
def test_the_cuda_clock_times_the_devices_work_not_the_launch() -> None:
    clock = clock_of(torch.device("cuda"))
    assert isinstance(clock, CudaClock)
    matrix = torch.randn(4096, 4096, device="cuda")
    marks = [clock.mark()]
    for n_products in (1, 40):
        for _ in range(n_products):
            matrix = matrix @ matrix
        marks.append(clock.mark())
    short, long = clock.seconds_between(marks)
    assert long > short > 0
    assert clock.peak_memory_mb() >= matrix.nbytes / 1e6


def test_threads_are_given_back_after_timing() -> None:
    before = torch.get_num_threads()

    def fail() -> None:
        with cpu_threads(before + 1):
            assert torch.get_num_threads() == before + 1
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert torch.get_num_threads() == before
    assert timing_threads(3) == 3
    assert timing_threads(None) >= 1


def test_a_device_is_found_and_has_a_name() -> None:
    assert resolve_device("cpu") == torch.device("cpu")
    assert resolve_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert device_name(resolve_device("auto"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_asking_for_a_gpu_that_is_not_there_is_an_environment_problem() -> None:
    with pytest.raises(EnvironmentProblem, match="torch finds no CUDA device"):
        resolve_device("cuda")
