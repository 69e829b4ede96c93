"""The front is timed round by round: what was timed is kept, and time that is over ends it."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tstitch_search.allocation import Allocation
from tstitch_search.config import Study, load_study
from tstitch_search.measurement import AllocationTime, AllocationTimes, TimeAllocations
from tstitch_search.progress import Silent
from tstitch_search.study_run.times.front import Round, time_front

FRONT = [Allocation.parse(text) for text in ("S*4", "S*2-XL*2", "XL*4")]


@pytest.fixture
def study_of(tiny_family: Path) -> Callable[..., Study]:
    return lambda *overrides: load_study(tiny_family / "study.yaml", overrides)


def device(asked: list[TimeAllocations], takes_s: float = 0.0) -> Callable[[TimeAllocations], AllocationTimes]:
    """Its round number i takes i seconds for every batch, by its own account; memory and steps in the first alone."""

    def measure(job: TimeAllocations) -> AllocationTimes:
        asked.append(job)
        time.sleep(takes_s)
        needs = (0.0,) if job.is_more else (830.0, (999.0, 500.0))
        seconds = (float(len(asked)),) * job.n_repeats
        return AllocationTimes(tuple(AllocationTime(seconds, seconds, *needs) for _ in job.allocations))

    return measure


def test_every_round_times_all_of_it_and_only_the_first_warms_up(study_of) -> None:
    asked, kept = list[TimeAllocations](), list[Round]()
    found = time_front(study_of("latency.n_repeats=4"), FRONT, device(asked), Silent(), keep=kept.append)
    assert [(job.allocations, job.n_repeats, job.is_more) for job in asked] == [
        (tuple(FRONT), 1, i > 0) for i in range(4)
    ]
    assert found == dict.fromkeys(
        FRONT, AllocationTime((1.0, 2.0, 3.0, 4.0), (1.0, 2.0, 3.0, 4.0), 830.0, (999.0, 500.0))
    )
    assert len(kept) == 4


def test_it_goes_on_from_rounds_that_were_kept_and_warms_up_anew(study_of) -> None:
    study, kept = study_of("latency.n_repeats=4"), list[Round]()
    whole = time_front(study, FRONT, device([]), Silent(), keep=kept.append)
    earlier, asked = [Round.of_event(made.fields) for made in kept[:3]], list[TimeAllocations]()
    found = time_front(study, FRONT, device(asked), Silent(), earlier)
    assert [job.is_more for job in asked] == [False]
    assert [t.seconds for t in found.values()] == [(1.0, 2.0, 3.0, 1.0)] * 3
    assert [t.timesteps for t in found.values()] == [t.timesteps for t in whole.values()]
    assert time_front(study, FRONT, device(asked), Silent(), kept) == whole
    assert len(asked) == 1


def test_an_entry_that_is_new_gets_its_own_rounds(study_of) -> None:
    study, kept, asked = study_of("latency.n_repeats=3"), list[Round](), list[TimeAllocations]()
    time_front(study, FRONT[:2], device([]), Silent(), keep=kept.append)
    found = time_front(study, FRONT, device(asked), Silent(), kept)
    assert [job.allocations for job in asked] == [tuple(FRONT[2:])] * 3
    assert list(found) == FRONT


def test_time_that_is_over_ends_it_after_three_rounds_and_says_so(study_of) -> None:
    asked, notes = list[TimeAllocations](), list[str]()
    listener = Silent()
    listener.note = notes.append  # type: ignore[method-assign]
    study = study_of("latency.n_repeats=9", "latency.seconds=0.01")
    found = time_front(study, FRONT, device(asked, takes_s=0.01), listener)
    assert [len(t.seconds) for t in found.values()] == [3, 3, 3]
    [said] = notes
    assert said.startswith("timing the front ended after 3 rounds in ")
    assert "latency.n_repeats = 9" in said
