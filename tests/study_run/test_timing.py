"""Timing the denoisers: as many rounds as the wanted error needs, never beyond the time it may take."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from children import HANG_S
from study_run.synthetic import calibration

from tstitch_search.config import Study, load_study
from tstitch_search.latency_model import LatencyModel
from tstitch_search.machine import CpuTimes
from tstitch_search.measurement import Calibrate, Calibration
from tstitch_search.progress import Silent
from tstitch_search.study_run.times.timing import batch_error, of_rounds, time_denoisers


class Listener(Silent):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.notes, self.said = list[str](), list[str]()

    def note(self, text: str) -> None:
        self.notes.append(text)

    def doing(self, text: str) -> None:
        self.said.append(text)


def device(
    pace: Callable[[int], float], asked: list[Calibrate], takes_s: float = 0.0
) -> Callable[[Calibrate], Calibration]:
    """A device whose round number i takes `pace(i)` times as long as an undisturbed one."""

    def measure(job: Calibrate) -> Calibration:
        asked.append(job)
        time.sleep(takes_s)
        steps = {name: s * pace(len(asked) - 1) for name, s in calibration().step_s.items()}
        return calibration(n_repeats=1, step_s=steps)

    return measure


@pytest.fixture
def study_of(tiny_family: Path) -> Callable[..., Study]:
    return lambda *overrides: load_study(tiny_family / "study.yaml", overrides)


def test_an_undisturbed_device_is_timed_n_repeats_times_and_warmed_up_once(study_of) -> None:
    asked, listener = list[Calibrate](), Listener()
    found = time_denoisers(study_of("latency.n_repeats=5"), device(lambda i: 1.0, asked), listener)
    assert [job.is_more for job in asked] == [False, True, True, True, True]
    assert (found.n_repeats, found.spread, found.step_s) == (5, 0.0, calibration().step_s)
    assert listener.said[1] == "round 2, error 0.0% so far"
    assert not [note for note in listener.notes if "standard error" in note]


def test_more_rounds_are_timed_until_the_wanted_error_is_reached(study_of) -> None:
    asked, study = list[Calibrate](), study_of("latency.n_repeats=3", "latency.error=2%", "latency.seconds=60")
    found = time_denoisers(study, device(lambda i: 1 + 0.1 * (i % 2), asked), Silent())
    assert len(asked) > 3
    assert batch_error(found, 4) <= 0.02


def test_time_that_is_over_ends_it_with_a_wider_error_and_says_so(study_of) -> None:
    asked, listener = list[Calibrate](), Listener()
    study = study_of("latency.error=2%", "latency.seconds=0.01")
    found = time_denoisers(study, device(lambda i: 1.0 + i % 2, asked, takes_s=0.01), listener)
    assert len(asked) == 3
    assert batch_error(found, 4) > 0.02
    [said] = [note for note in listener.notes if "ended after 3 rounds" in note]
    assert "not to latency.error = 2.0%" in said


def test_without_a_limit_it_takes_a_few_times_what_its_rounds_take(study_of) -> None:
    asked = list[Calibrate]()
    time_denoisers(study_of("latency.n_repeats=3"), device(lambda i: 1.0 + i % 2, asked, takes_s=0.06), Silent())
    assert 3 <= len(asked) <= 4 * 3


def test_rounds_together_have_the_errors_of_their_medians() -> None:
    rounds = [calibration(1, {"S": 0.1, "B": 0.3, "XL": s}) for s in (1.0, 1.1, 1.2)]
    found = of_rounds(rounds)
    assert found.step_s["XL"] == 1.1
    assert found.step_se["XL"] == pytest.approx(1.2533 * 0.1 / 3**0.5)
    assert found.spread == pytest.approx(0.1 / 1.1)
    assert LatencyModel(found).calibration.n_repeats == 3


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_a_busy_process_of_others_counts_and_one_of_our_own_does_not() -> None:
    busy = "import time\nend = time.monotonic() + 60\nwhile time.monotonic() < end: pass"
    own = subprocess.Popen([sys.executable, "-c", busy])
    orphan = ["sh", "-c", '"$0" -c "$1" >/dev/null 2>&1 & echo $!', sys.executable, busy]
    other = int(subprocess.run(orphan, capture_output=True, timeout=HANG_S, check=True).stdout)
    try:
        before = CpuTimes.now()
        while CpuTimes.now().of[other][1] == before.of[other][1]:
            time.sleep(0.05)
        assert before.neighbours().cores > 0
        assert before.neighbours().busiest
        assert own.pid not in before.of
    finally:
        os.kill(other, signal.SIGKILL)
        own.kill()
        own.wait(timeout=HANG_S)
