"""The front timed end to end, round by round: each is kept, a kill costs one, and no more begin once time is over."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from tstitch_search.allocation import Allocation
from tstitch_search.config import Study
from tstitch_search.measurement import AllocationTime, AllocationTimes, Answer, TimeAllocations
from tstitch_search.progress import Progress
from tstitch_search.study_run.times.timing import MIN_ROUNDS, time_is_over


@dataclass(frozen=True)
class Round:
    """One batch of every allocation, and the seconds that all of them took."""

    times: Mapping[Allocation, AllocationTime]
    took_s: float

    def __str__(self) -> str:
        return f"{len(self.times)} allocations in {self.took_s:.0f} s"

    @property
    def fields(self) -> dict[str, object]:
        """What the ledger keeps of it."""
        return {"times": {str(a): asdict(t) for a, t in self.times.items()}, "took_s": round(self.took_s, 4)}

    @classmethod
    def of_event(cls, event: Mapping[str, Any]) -> "Round":
        """What was kept."""
        return cls({Allocation.parse(a): time_of(fields) for a, fields in event["times"].items()}, event["took_s"])


def time_front(
    study: Study,
    allocations: Sequence[Allocation],
    measure: Callable[[TimeAllocations], Answer],
    progress: Progress,
    earlier: Sequence[Round] = (),
    keep: Callable[[Round], object] = lambda made: None,
) -> dict[Allocation, AllocationTime]:
    """The time of each allocation in `latency.n_repeats` rounds, or in fewer once time is over; never less than three.

    `earlier`: rounds that need not be made again. `keep` is given each new one as soon as it is there.
    """
    rounds, is_warm = list(earlier), False
    while waiting := [a for a in allocations if _is_waiting(study, a, rounds)]:
        before = time.monotonic()
        answer = measure(TimeAllocations(tuple(waiting), 1, is_more=is_warm))
        assert isinstance(answer, AllocationTimes)
        made = Round(dict(zip(waiting, answer.times, strict=True)), time.monotonic() - before)
        keep(made)
        rounds.append(made)
        progress.doing(f"round {len(rounds)} of {study.config.latency.n_repeats}, {made}")
        is_warm = True
    found = {a: [r.times[a] for r in rounds if a in r.times] for a in allocations}
    _say_if_cut_short(study, min(map(len, found.values()), default=0), sum(r.took_s for r in rounds), progress)
    return {a: _together(times) for a, times in found.items()}


def time_of(fields: Mapping[str, Any]) -> AllocationTime:
    """A time that the ledger kept; one of an earlier version does not say where the steps began."""
    steps = (tuple(fields.get(name, ())) for name in ("timesteps", "sigmas"))
    return AllocationTime(tuple(fields["seconds"]), tuple(fields["predicted_s"]), fields["peak_memory_mb"], *steps)


def _is_waiting(study: Study, allocation: Allocation, rounds: Sequence[Round]) -> bool:
    """Whether the allocation needs another round."""
    n = sum(allocation in r.times for r in rounds)
    wanted = study.config.latency.n_repeats
    return n < MIN_ROUNDS or (n < wanted and not time_is_over(study, [r.took_s for r in rounds]))


def _together(times: Sequence[AllocationTime]) -> AllocationTime:
    """One time of all repeats; memory and steps are those of a round that measured them."""
    told = next((t for t in times if t.timesteps), times[0])
    return replace(
        told,
        seconds=tuple(s for t in times for s in t.seconds),
        predicted_s=tuple(s for t in times for s in t.predicted_s),
        peak_memory_mb=max(t.peak_memory_mb for t in times),
    )


def _say_if_cut_short(study: Study, n: int, seconds: float, progress: Progress) -> None:
    wanted = study.config.latency.n_repeats
    if 0 < n < wanted:
        progress.note(
            f"timing the front ended after {n} rounds in {seconds:.0f} s, not after latency.n_repeats = {wanted}; "
            "latency.seconds gives it more time"
        )
