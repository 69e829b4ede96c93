"""How long a batch takes: c_0 + sum over k of n_k c_k, each part measured inside the real pipeline.

c_k is the step time of denoiser k, the median of a batch's intervals between step starts; c_0 is what comes before the
first and after the last step: start noise and decoding. A batch is timed from noise to decoded images. c_0 is not taken
as the total less n steps: on a busy machine that would add every delayed step to it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from tstitch_search.allocation import Allocation
from tstitch_search.measure.clock import Clock
from tstitch_search.measurement import AllocationTime, AllocationTimes, Calibrate, Calibration, TimeAllocations

# Makes one batch with the allocation, calling the function once i steps are done, i = 0 ... n_steps.
RunBatch: TypeAlias = Callable[[Allocation, Callable[[int], None]], None]


@dataclass(frozen=True)
class BatchTime:
    """Seconds of one batch: in all, of its median step, and outside its steps; and its peak memory."""

    total_s: float
    step_s: float
    fixed_s: float
    peak_memory_mb: float


def calibrate(job: Calibrate, run: RunBatch, clock: Clock, device: str, batch_size: int) -> Calibration:
    """The parts of a batch's time, from `n_repeats` batches per denoiser.

    `spread` is the largest interquartile range of a denoiser's step times, relative to their median.
    """
    alone = [Allocation.of([(name, job.n_steps)]) for name in job.denoisers]
    times = dict(zip(job.denoisers, _interleaved(alone, job.n_repeats, run, clock), strict=True))
    step_s = {name: [batch.step_s for batch in batches] for name, batches in times.items()}
    fixed_s = [batch.fixed_s for batches in times.values() for batch in batches]
    return Calibration(
        step_s={name: float(np.median(values)) for name, values in step_s.items()},
        step_se={name: median_se(values) for name, values in step_s.items()},
        fixed_s=float(np.median(fixed_s)),
        fixed_se=median_se(fixed_s),
        spread=max(_relative_iqr(values) for values in step_s.values()),
        peak_memory_mb=max(batch.peak_memory_mb for batches in times.values() for batch in batches),
        device=device,
        batch_size=batch_size,
        n_repeats=job.n_repeats,
    )


def time_allocations(job: TimeAllocations, run: RunBatch, clock: Clock) -> AllocationTimes:
    """The end-to-end time of each of `n_repeats` batches of every allocation."""
    batches = _interleaved(job.allocations, job.n_repeats, run, clock)
    return AllocationTimes(
        tuple(AllocationTime(tuple(b.total_s for b in of), max(b.peak_memory_mb for b in of)) for of in batches)
    )


def _interleaved(
    allocations: Sequence[Allocation], n_repeats: int, run: RunBatch, clock: Clock
) -> list[list[BatchTime]]:
    """`n_repeats` batches of each allocation, taken in turns, so that a slow drift of the machine hits all alike.

    Before them one batch of every denoiser in use warms up.
    """
    for name, n_steps in sorted({(name, a.n_steps) for a in allocations for name in a.steps}):
        time_batch(Allocation.of([(name, n_steps)]), run, clock)
    rounds = [[time_batch(allocation, run, clock) for allocation in allocations] for _ in range(n_repeats)]
    return [list(batches) for batches in zip(*rounds, strict=True)]


def time_batch(allocation: Allocation, run: RunBatch, clock: Clock) -> BatchTime:
    """Make one batch and say how long it took. Marks are read only after the batch, so that nothing waits in it."""
    clock.forget_peak_memory()
    marks: list[Any] = [clock.mark()]
    run(allocation, lambda _: marks.append(clock.mark()))
    marks.append(clock.mark())
    before, *steps, after = clock.seconds_between(marks)
    return BatchTime(before + sum(steps) + after, float(np.median(steps)), before + after, clock.peak_memory_mb())


def median_se(values: Sequence[float]) -> float:
    """Standard error of the median of `values`: 1.2533 std / sqrt(n), which holds for normal values."""
    return float(1.2533 * np.std(values, ddof=1) / np.sqrt(len(values)))


def _relative_iqr(values: Sequence[float]) -> float:
    low, middle, high = np.percentile(values, (25, 50, 75))
    return float((high - low) / middle)
