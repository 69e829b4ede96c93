"""Times: with a clock that only the work itself moves on, every part comes out exactly."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from statistics import median

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tstitch_search.allocation import Allocation
from tstitch_search.errors import EnvironmentProblem
from tstitch_search.latency_model import LatencyModel, median_se
from tstitch_search.measure.clock import CpuClock, CudaClock, clock_of
from tstitch_search.measure.latency import MAX_WARM_UP, Stand, calibrate, time_allocations, time_batch
from tstitch_search.measurement import Calibrate, Step, TimeAllocations
from tstitch_search.members.device import cpu_threads, device_name, resolve_device, timing_threads
from tstitch_search.study_run.times.timing import of_rounds

STEP_S = {"S": 1.0, "B": 2.0, "XL": 8.0}
SWITCH_S = {"S": 0.125, "B": 0.25, "XL": 0.5}
BEFORE_S, AFTER_S = 0.5, 0.25
RESIDENT_MB = {"S": 10.0, "B": 20.0, "XL": 80.0}


class Work:
    """Batches of exactly known times, and the clock and memory meter that only they move.

    A batch takes `BEFORE_S`, then per step what its denoiser takes and `SWITCH_S` more for the first of a segment, then
    `AFTER_S`; batch number i takes `pace(i)` times that. Its rise in memory is that of its largest denoiser.
    """

    def __init__(self, pace: Callable[[int], float] = lambda i: 1.0):
        self.now, self.pace = 0.0, pace
        self.batches: list[str] = []

    def __call__(self, allocation: Allocation, on_step: Callable[[int], None]) -> None:
        pace = self.pace(len(self.batches))
        self.batches.append(str(allocation))
        self.now += BEFORE_S * pace
        on_step(0)
        for done, (before, name) in enumerate(pairwise((None, *allocation.by_step)), start=1):
            self.now += (STEP_S[name] + SWITCH_S[name] * (name != before)) * pace
            on_step(done)
        self.now += AFTER_S * pace

    def steps(self, n_steps: int) -> list[Step]:
        return [Step(999.0 - i, 1.0 / (i + 1)) for i in range(n_steps)]

    def mark(self) -> float:
        return self.now

    def seconds_between(self, marks: Sequence[float]) -> list[float]:
        return [b - a for a, b in pairwise(marks)]

    def rise_mb(self, work: Callable[[], None]) -> float:
        work()
        return max(STEP_S[name] for name in Allocation.parse(self.batches[-1]).steps)

    @property
    def stand(self) -> Stand:
        return Stand(self, self.steps, self, self, "a device", 2, {"S": 1, "B": 2, "XL": 3}, RESIDENT_MB, shared_mb=5)


JOB = Calibrate(denoisers=("S", "XL"), n_steps=4, n_repeats=3)


def true_s(allocation: Allocation) -> float:
    steps = sum(STEP_S[name] for name in allocation.by_step)
    return BEFORE_S + steps + sum(SWITCH_S[s.denoiser] for s in allocation.segments) + AFTER_S


def test_calibration_finds_step_switch_and_fixed_part_exactly() -> None:
    found = calibrate(JOB, Work().stand)
    assert found.step_s == {"S": 1.0, "XL": 8.0}
    assert found.switch_s == {"S": 0.125, "XL": 0.5}
    assert found.fixed_s == 0.75
    assert found.step_se == found.switch_se == {"S": 0.0, "XL": 0.0}
    assert (found.fixed_se, found.spread) == (0.0, 0.0)
    assert (found.device, found.batch_size, found.n_repeats) == ("a device", 2, 3)


def test_memory_of_a_member_is_its_own_and_together_it_is_that_of_all() -> None:
    found = calibrate(JOB, Work().stand)
    assert found.member_memory_mb == {"S": 10 + 5 + 1, "XL": 80 + 5 + 8}
    assert found.peak_memory_mb == 10 + 80 + 5 + 8
    assert found.weights_mb == {"S": 1, "B": 2, "XL": 3}


allocations = st.lists(st.sampled_from(["S", "B", "XL"]), min_size=2, max_size=6).map(
    lambda names: Allocation.of((name, 1) for name in names)
)


@given(allocation=allocations, n_repeats=st.integers(3, 5))
def test_on_an_undisturbed_machine_the_model_is_exact_for_every_allocation(allocation, n_repeats) -> None:
    found = calibrate(Calibrate(("S", "B", "XL"), 6, n_repeats), Work().stand)
    assert LatencyModel(found).latency_s(allocation) == pytest.approx(true_s(allocation), rel=1e-12)


class CachedWork(Work):
    """XL has a cache: it works at steps 0, 1 and 3 of a turn, and skips three quarters of the others."""

    def __call__(self, allocation: Allocation, on_step: Callable[[int], None]) -> None:
        self.batches.append(str(allocation))
        self.now += BEFORE_S
        on_step(0)
        done = 0
        for segment in allocation.segments:
            for place in range(segment.n_steps):
                self.now += cached_step_s(segment.denoiser, place) + SWITCH_S[segment.denoiser] * (place == 0)
                on_step(done := done + 1)
        self.now += AFTER_S

    @property
    def stand(self) -> Stand:
        return replace(super().stand, remembering=frozenset({"XL"}))


def cached_step_s(name: str, place: int) -> float:
    return STEP_S[name] / (4 if name == "XL" and place in (2, 4, 5) else 1)


@given(allocation=allocations, n_repeats=st.integers(1, 3))
def test_of_a_member_with_a_cache_every_length_of_a_turn_is_predicted_exactly(allocation, n_repeats) -> None:
    found = of_rounds([calibrate(Calibrate(("S", "B", "XL"), 6, 1), CachedWork().stand) for _ in range(n_repeats)])
    steps = sum(cached_step_s(s.denoiser, place) for s in allocation.segments for place in range(s.n_steps))
    switches = sum(SWITCH_S[s.denoiser] for s in allocation.segments)
    expected = BEFORE_S + steps + switches + AFTER_S
    assert LatencyModel(found).latency_s(allocation) == pytest.approx(expected, rel=1e-9)


@given(entries=st.lists(allocations, min_size=1, max_size=4), slow_down=st.floats(0.9, 1.2))
def test_times_are_whole_and_in_order_and_a_steady_drift_leaves_the_prediction_nearly_right(entries, slow_down) -> None:
    work = Work(lambda i: slow_down ** (i / 20))
    times = time_allocations(TimeAllocations(tuple(entries), n_repeats=3), work.stand).times
    assert [len(t.seconds) for t in times] == [len(t.predicted_s) for t in times] == [3] * len(entries)
    for entry, time in zip(entries, times, strict=True):
        assert abs(time.prediction_error) <= abs(slow_down ** (8 / 20) - 1) + 1e-9  # at most 8 batches in a round
        assert time.latency_s_predicted == pytest.approx(time.latency_s / (1 + time.prediction_error))
        if slow_down == 1:
            assert time.seconds == (true_s(entry),) * 3


def test_an_entry_is_predicted_from_other_batches_than_its_own() -> None:
    """Even a denoiser alone: here every batch that is an entry takes twice as long as those around it."""
    work = Work()
    entry = Allocation.parse("S*4")
    work.pace = lambda i: 1 + (i >= 2 and (i - 2) % 3 == 2)  # two to warm up, then S*4, turns, S*4 in each round
    [time] = time_allocations(TimeAllocations((entry,), n_repeats=3), work.stand).times
    assert time.seconds == (2 * true_s(entry),) * 3
    assert time.predicted_s == (true_s(entry),) * 3
    assert time.prediction_error == 1


def test_an_entrys_memory_is_that_of_the_members_it_uses() -> None:
    front = (Allocation.parse("S*4"), Allocation.parse("S*2-B*2"))
    small, mixed = time_allocations(TimeAllocations(front, n_repeats=3), Work().stand).times
    assert (small.peak_memory_mb, mixed.peak_memory_mb) == (10 + 5 + 1, 10 + 20 + 5 + 2)


def test_repeats_take_turns_after_each_denoiser_is_warm() -> None:
    work = Work()
    calibrate(JOB, work.stand)
    in_turns = ["S*4", "XL*4", "S*1-XL*1-S*1-XL*1"]
    assert work.batches == ["S*4"] * 2 + ["XL*4"] * 2 + in_turns * 3 + ["S*4", "XL*4"]  # the last two: memory


def test_warming_up_goes_on_until_two_batches_agree_and_ends_in_any_case() -> None:
    compiling = Work(lambda i: 1 + max(0, 3 - i))
    calibrate(Calibrate(("S",), 4, 3), compiling.stand)
    assert compiling.batches.count("S*4") == 5 + 2 * 3 + 1  # agrees at the 5th; alone and "in turns"; memory
    disturbed = Work(lambda i: 1 + i % 2)
    calibrate(Calibrate(("S",), 4, 3), disturbed.stand)
    assert disturbed.batches.count("S*4") == 2 + 2 * 3 + 1  # the second is slower: that is no warming up
    endless = Work(lambda i: 0.9**i)
    calibrate(Calibrate(("S",), 4, 3), endless.stand)
    assert endless.batches.count("S*4") == MAX_WARM_UP + 2 * 3 + 1


def test_the_first_batch_of_each_is_kept_with_what_it_took_to_compile() -> None:
    compiling = Work(lambda i: 1 + max(0, 3 - i)).stand
    first = calibrate(Calibrate(("S",), 4, 1), compiling)
    assert first.first_batch_s == {"S": 4 * true_s(Allocation.parse("S*4"))}
    more = calibrate(Calibrate(("S",), 4, 1, is_more=True), compiling)
    assert of_rounds([first, more]).first_batch_s == first.first_batch_s


def test_further_rounds_begin_at_once_and_measure_no_memory() -> None:
    work = Work()
    found = calibrate(Calibrate(("S", "XL"), 4, 1, is_more=True), work.stand)
    assert work.batches == ["S*4", "XL*4", "S*1-XL*1-S*1-XL*1"]
    assert (found.step_s, found.n_repeats) == ({"S": 1.0, "XL": 8.0}, 1)


def test_a_drifting_machine_shows_in_spread_and_standard_errors() -> None:
    found = calibrate(JOB, Work(lambda i: 1.5**i).stand)
    assert found.spread > 0.5
    assert all(se > 0 for se in (*found.step_se.values(), *found.switch_se.values(), found.fixed_se))


def test_one_disturbed_batch_does_not_move_the_calibration() -> None:
    disturbed = calibrate(JOB, Work(lambda i: 1 + 9 * (i in (4, 8))).stand)  # S and XL once each, in different rounds
    assert disturbed.step_s == {"S": 1.0, "XL": 8.0}
    assert disturbed.fixed_s == 0.75


@given(st.lists(st.floats(0.01, 10), min_size=4, max_size=4))
def test_a_batch_is_the_sum_of_its_steps_and_the_rest(steps: list[float]) -> None:
    work = Work()

    def run(allocation: Allocation, on_step: Callable[[int], None]) -> None:
        for done, seconds in enumerate((0.5, *steps)):
            work.now += seconds
            on_step(done)
        work.now += 0.25

    batch = time_batch(Allocation.parse("S*4"), run, work)
    assert batch.steps_s == pytest.approx(steps)
    assert batch.fixed_s == pytest.approx(0.75)
    assert batch.total_s == pytest.approx(0.75 + sum(steps))
    assert median(batch.first_steps_s("S")) == batch.steps_s[0]
    assert batch.first_steps_s("B") == []


def test_the_standard_error_of_a_median_is_that_of_normal_values() -> None:
    values = torch.randn(2000, 9, dtype=torch.float64)
    true = float(values.numpy().std() * 1.2533 / 3)
    mean_estimate = sum(median_se(list(row)) for row in values.numpy()) / 2000
    assert mean_estimate == pytest.approx(true, rel=0.05)


def test_the_cpu_clock_moves_on() -> None:
    clock = clock_of(torch.device("cpu"))
    assert isinstance(clock, CpuClock)
    marks = [clock.mark() for _ in range(3)]
    assert len(clock.seconds_between(marks)) == 2
    assert all(s >= 0 for s in clock.seconds_between(marks))


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
