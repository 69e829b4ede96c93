"""How long a batch takes, in parts that add up: c_0, n_k c_k for the steps of denoiser k, s_k for each segment of it.

c_k is the mean step of a batch that k makes alone, c_0 what lies before its first and after its last step: start noise
and decoding. s_k is what the first step of a segment takes beyond c_k: cold caches, or moving the weights in. It hangs
on who comes, hardly on who goes: measured on 2 cores of an AMD EPYC (12 rounds, the zoo's S, B, XL, batch 16), XL
starts 2.4 ms late after S and after B alike, and 3.3 ms at the start of a trajectory, with c_XL = 26 ms.

Means, not medians, of a batch's steps: delays are part of a real batch's time, and a sum of medians misses them (5 to
8 % off, against 2 to 4 %; median over 6 stitched allocations, same measurement). Over batches the median counts, so
that one disturbed batch does not.

A denoiser with a cache skips little at the beginning of a turn and more later: of it the time of each step of a turn is
kept, in shares of c_k. That is exact where a cache goes by the place in the turn (DeepCache, TaylorSeer), and a mean
over where it goes by the timestep or by the images.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import cycle, islice, pairwise
from statistics import fmean, median
from typing import Any, TypeAlias

import numpy as np

from tstitch_search.allocation import Allocation
from tstitch_search.latency_model import Parts, median_se, typical_places
from tstitch_search.measure.clock import Clock
from tstitch_search.measure.memory import MemoryMeter
from tstitch_search.measurement import (
    AllocationTime,
    AllocationTimes,
    Calibrate,
    Calibration,
    Step,
    TimeAllocations,
    together_mb,
)

# Makes one batch with the allocation, calling the function once i steps are done, i = 0 ... n_steps.
RunBatch: TypeAlias = Callable[[Allocation, Callable[[int], None]], None]

# A denoiser is warm once a batch saves less than this share of the one before, or after this many.
WARM_WITHIN, MAX_WARM_UP = 0.05, 8


@dataclass(frozen=True)
class Stand:
    """What times and memory are taken with, and what is known of the pipeline under test.

    `steps` are those of the batch made last, given their number. `weights_mb` are the members' files on disk,
    `resident_mb` their tensors where they are kept while others answer, `shared_mb` those of the parts they share;
    `weights_of` as in `Calibration`; `remembering`: members whose step's time hangs on its place in a turn. `n_calls`
    are those of each step of the batch made last; `profiled` has an allocation for each profile and its steps, and
    `calls` what is known of them already, as in `Calibration`.
    """

    run: RunBatch
    steps: Callable[[int], Sequence[Step]]
    clock: Clock
    memory: MemoryMeter
    device: str
    batch_size: int
    weights_mb: Mapping[str, float]
    resident_mb: Mapping[str, float]
    shared_mb: float
    weights_of: Mapping[str, str] = field(default_factory=dict)
    remembering: frozenset[str] = frozenset()
    n_calls: Callable[[int], Sequence[int]] = lambda n_steps: [1] * n_steps
    profiled: Sequence[Allocation] = ()
    calls: dict[str, list[float]] = field(default_factory=dict)


@dataclass(frozen=True)
class BatchTime:
    """Seconds of one batch: of each of its steps, and outside them (before the first and after the last)."""

    allocation: Allocation
    steps_s: tuple[float, ...]
    fixed_s: float

    @property
    def total_s(self) -> float:
        """From noise to decoded images."""
        return self.fixed_s + sum(self.steps_s)

    def first_steps_s(self, name: str) -> list[float]:
        """Seconds of the steps that begin a segment of the denoiser."""
        by_step = (None, *self.allocation.by_step)
        return [s for s, (before, now) in zip(self.steps_s, pairwise(by_step), strict=True) if now == name != before]


@dataclass(frozen=True)
class Timed:
    """The batches of one interleaved job, round by round: of each denoiser alone, taking turns, of each entry.

    `first_s`: the first batch of each denoiser, while it warmed up; empty where it was warm.
    """

    denoisers: tuple[str, ...]
    rounds: tuple[tuple[BatchTime, ...], ...]
    remembering: frozenset[str]
    calls: Mapping[str, Sequence[float]]
    first_s: Mapping[str, float]

    def parts(self, batches: Sequence[BatchTime]) -> Parts:
        """The parts of a batch's time as one round has them."""
        known = batches[: len(self.denoisers) + 1]
        step_s = {name: fmean(b.steps_s[1:] or b.steps_s) for name, b in zip(self.denoisers, known, strict=False)}
        first_s = {name: fmean(s for b in known for s in b.first_steps_s(name)) for name in self.denoisers}
        return Parts(
            step_s=step_s,
            switch_s={name: first_s[name] - step_s[name] for name in self.denoisers},
            fixed_s=median(b.fixed_s for b in known),
            places={
                name: [seconds / step_s[name] for seconds in b.steps_s]
                for name, b in zip(self.denoisers, known, strict=False)
                if name in self.remembering
            },
            calls=self.calls,
        )

    def entries(self, batches: Sequence[BatchTime]) -> Sequence[BatchTime]:
        """The round's batches that are not there for the parts."""
        return batches[len(self.denoisers) + 1 :]


def calibrate(job: Calibrate, stand: Stand) -> Calibration:
    """The parts of a batch's time and memory, from `n_repeats` batches per denoiser and as many that take turns.

    `spread` is the largest interquartile range of a denoiser's step times, relative to their median.
    """
    alone = [Allocation.of([(name, job.n_steps)]) for name in job.denoisers]
    timed = _interleaved(job.denoisers, job.n_steps, (), job.n_repeats, stand, is_warm=job.is_more)
    parts = [timed.parts(batches) for batches in timed.rounds]
    step_s = {name: [p.step_s[name] for p in parts] for name in job.denoisers}
    switch_s = {name: [p.switch_s[name] for p in parts] for name in job.denoisers}
    rise_mb = {name: 0.0 if job.is_more else _rise_mb(a, stand) for name, a in zip(job.denoisers, alone, strict=True)}
    return Calibration(
        step_s={name: median(values) for name, values in step_s.items()},
        step_se={name: median_se(values) for name, values in step_s.items()},
        switch_s={name: median(values) for name, values in switch_s.items()},
        switch_se={name: median_se(values) for name, values in switch_s.items()},
        fixed_s=median(p.fixed_s for p in parts),
        fixed_se=median_se([p.fixed_s for p in parts]),
        spread=max(_relative_iqr(values) for values in step_s.values()),
        peak_memory_mb=_memory_mb(job.denoisers, max(rise_mb.values()), stand),
        member_memory_mb={name: _memory_mb([name], rise, stand) for name, rise in rise_mb.items()},
        weights_mb=dict(stand.weights_mb),
        device=stand.device,
        batch_size=stand.batch_size,
        n_repeats=job.n_repeats,
        weights_of=dict(stand.weights_of),
        places=typical_places([p.places for p in parts]),
        calls={scheme: list(calls) for scheme, calls in timed.calls.items()},
        first_batch_s=dict(timed.first_s),
    )


def time_allocations(job: TimeAllocations, stand: Stand) -> AllocationTimes:
    """The end-to-end time of `n_repeats` batches of every allocation, and what their round's own steps predict.

    The denoisers alone are timed again in every round, so that a prediction and what it is held against are of the
    same minute. No batch is on both sides, not even where an entry is a denoiser alone.
    """
    denoisers = tuple(dict.fromkeys(name for a in job.allocations for name in a.steps))
    n_steps = max(a.n_steps for a in job.allocations)
    timed = _interleaved(denoisers, n_steps, job.allocations, job.n_repeats, stand, is_warm=job.is_more)
    parts = [timed.parts(batches) for batches in timed.rounds]
    by_entry = zip(*(timed.entries(batches) for batches in timed.rounds), strict=True)
    times = [_time_of(a, batches, parts) for a, batches in zip(job.allocations, by_entry, strict=True)]
    return AllocationTimes(
        tuple(times if job.is_more else (_with_needs(a, t, stand) for a, t in zip(job.allocations, times, strict=True)))
    )


def _time_of(allocation: Allocation, batches: Sequence[BatchTime], parts: Sequence[Parts]) -> AllocationTime:
    """What the rounds' batches of an allocation say."""
    predicted_s = tuple(p.latency_s(allocation) for p in parts)
    return AllocationTime(tuple(b.total_s for b in batches), predicted_s, peak_memory_mb=0.0)


def _with_needs(allocation: Allocation, time: AllocationTime, stand: Stand) -> AllocationTime:
    """The time with the memory that the allocation needs and its steps, for which one more batch is made."""
    rise_mb = _rise_mb(allocation, stand)
    steps = stand.steps(allocation.n_steps)
    return replace(
        time,
        peak_memory_mb=_memory_mb(list(allocation.steps), rise_mb, stand),
        timesteps=tuple(step.timestep for step in steps),
        sigmas=tuple(step.sigma for step in steps if step.sigma is not None),
    )


def _interleaved(
    denoisers: Sequence[str],
    n_steps: int,
    entries: Sequence[Allocation],
    n_repeats: int,
    stand: Stand,
    is_warm: bool = False,
) -> Timed:
    """`n_repeats` rounds of one batch each, so that a slow drift of the machine hits all alike; warmed up before."""
    alone = [Allocation.of([(name, n_steps)]) for name in denoisers]
    turns = Allocation.of((name, 1) for name in islice(cycle(denoisers), n_steps))
    first_s = {} if is_warm else {name: _warm_up(a, stand) for name, a in zip(denoisers, alone, strict=True)}
    order = (*alone, turns, *entries)
    rounds = tuple(tuple(time_batch(a, stand.run, stand.clock) for a in order) for _ in range(n_repeats))
    _count_calls(alone[0], stand)
    return Timed(tuple(denoisers), rounds, stand.remembering, stand.calls, first_s)


def _count_calls(own: Allocation, stand: Stand) -> None:
    """How often each profile's solver asks in a step, beside the pipeline's own in `own`: one batch tells."""
    for profiled in stand.profiled:
        if profiled.scheme not in stand.calls:
            usual, asked = (_n_calls(allocation, stand) for allocation in (own, profiled))
            stand.calls[profiled.scheme] = [n / fmean(usual) for n in asked]


def _n_calls(allocation: Allocation, stand: Stand) -> Sequence[int]:
    stand.run(allocation, lambda _: None)
    return stand.n_calls(allocation.n_steps)


def _warm_up(allocation: Allocation, stand: Stand) -> float:
    """Make batches until the next one is not clearly faster; a disturbed one, which is slower, ends it too.

    Returns the seconds of the first one.
    """
    first = before = time_batch(allocation, stand.run, stand.clock).total_s
    for _ in range(MAX_WARM_UP - 1):
        now = time_batch(allocation, stand.run, stand.clock).total_s
        if now >= (1 - WARM_WITHIN) * before:
            break
        before = now
    return first


def time_batch(allocation: Allocation, run: RunBatch, clock: Clock) -> BatchTime:
    """Make one batch and say how long it took. Marks are read only after the batch, so that nothing waits in it."""
    marks: list[Any] = [clock.mark()]
    run(allocation, lambda _: marks.append(clock.mark()))
    marks.append(clock.mark())
    before, *steps, after = clock.seconds_between(marks)
    return BatchTime(allocation, tuple(steps), before + after)


def _rise_mb(allocation: Allocation, stand: Stand) -> float:
    return stand.memory.rise_mb(lambda: stand.run(allocation, lambda _: None))


def _memory_mb(members: Sequence[str], rise_mb: float, stand: Stand) -> float:
    """What a pipeline with these members needs: their weights, those of the shared parts, and a batch's rise."""
    return together_mb(members, stand.resident_mb, stand.weights_of) + stand.shared_mb + rise_mb


def _relative_iqr(values: Sequence[float]) -> float:
    low, middle, high = np.percentile(values, (25, 50, 75))
    return float((high - low) / middle)
