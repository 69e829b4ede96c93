"""A run beside a process that takes a core: it ends, says so, and chooses what an undisturbed run chooses."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from children import HANG_S

from tstitch_search.config import load_study
from tstitch_search.lookup import LookupTable
from tstitch_search.progress import Silent
from tstitch_search.study_run import run_study
from tstitch_search.study_run.preparation.pool import open_pool
from tstitch_search.study_run.times.calibrations import calibrate_study

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="neighbours are found in /proc"),
]


class Listener(Silent):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.notes = list[str]()

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def neighbour() -> Iterator[int]:
    """The id of a process that keeps a core busy and is no child of this one."""
    start = ["sh", "-c", '"$0" -c "$1" >/dev/null 2>&1 & echo $!', sys.executable, "while True: pass"]
    pid = int(subprocess.run(start, capture_output=True, timeout=HANG_S, check=True).stdout)
    try:
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)


def test_a_run_beside_a_busy_process_says_so_and_chooses_as_an_undisturbed_one(
    tiny_family: Path, tmp_path: Path, neighbour: int
) -> None:
    told, times = Listener(), tmp_path / "times.json"
    calibrate_study(load_study(tiny_family / "study.yaml", ["latency.seconds=5"]), times, open_pool, told)
    assert any("another process takes" in note for note in told.notes)
    disturbed = _entries(tiny_family, times, tmp_path / "disturbed")
    os.kill(neighbour, signal.SIGSTOP)
    assert _entries(tiny_family, times, tmp_path / "undisturbed") == disturbed


def _entries(family: Path, times: Path, folder: Path) -> set[str]:
    """What a run with these step times confirms."""
    study = load_study(family / "study.yaml", [f"latency.from={times}", "search.n_trials=5", "confirm.max_entries=3"])
    table = LookupTable.read(run_study(study, folder, open_pool, Silent()).folder / "lookup.json")
    return {str(c.allocation) for c in (*table.entries, *table.candidates) if c.confirmed}
