"""Killed with SIGKILL anywhere, a run goes on with the same command and ends as if nothing had happened.

The measurer is a record, so that a study takes a second and every run of it gives the same numbers; with measured times
the same is shown by `tests/end_to_end/test_command.py`.
"""

import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest
from children import HANG_S
from crash.recorded_study import write_study
from optuna.trial import TrialState

from tstitch_search.config import load_study
from tstitch_search.ledger import read_events
from tstitch_search.lookup import LookupTable
from tstitch_search.progress import Silent
from tstitch_search.study_run import run_study
from tstitch_search.study_run.preparation.pool import open_pool

KILLED_AT = Path(__file__).with_name("killed_at.py")
POINTS = [
    ("before an ask", 1),
    ("before an ask", 7),
    ("while a chunk runs", 8),
    ("between ledger and tell", 3),
    ("in the middle of a ledger line", 10),
    ("a feature file is begun", 6),
    ("a feature file is renamed", 9),
    ("during confirmation", 4),
    ("while the front is timed", 3),
    ("lookup.json is begun", 1),
    ("lookup.json is renamed", 1),
]

BYTES_LEFT = [3_000, 100_000, *(pytest.param(n, marks=pytest.mark.slow) for n in (50_000, 1_000_000))]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_study(tmp_path_factory.mktemp("fragile"))


def run(study: Path, folder: Path) -> None:
    run_study(load_study(study), folder, open_pool, Silent())


@pytest.fixture(scope="module")
def undisturbed(study: Path) -> Path:
    run(study, study.parent / "undisturbed")
    return study.parent / "undisturbed"


def start(study: Path, folder: Path, point: str, number: int) -> subprocess.Popen[bytes]:
    """The command in a process group of its own."""
    arguments = [sys.executable, KILLED_AT, point, str(number), "run", study, "-o", folder]
    return subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)


def chunks(folder: Path) -> list[tuple[str, str, int, str]]:
    """(set, allocation, first image, hash of the features) of every chunk the ledger knows."""
    if not (folder / "ledger.jsonl").exists():
        return []
    events = read_events(folder / "ledger.jsonl")
    return [(e["set"], e["allocation"], e["first"], e["sha256"]) for e in events if e["event"] == "chunk"]


def table(folder: Path) -> dict[str, object]:
    """The table without where and when it was made."""
    found = json.loads((folder / "lookup.json").read_text())
    return {key: value for key, value in found.items() if key != "provenance"}


def questions(folder: Path) -> list[tuple[TrialState, dict[str, object], list[float] | None]]:
    """The trials as optuna-dashboard shows them, but for those that died before they had become a question."""
    record = optuna.load_study(study_name=None, storage=f"sqlite:///{folder / 'study.db'}")
    assert TrialState.RUNNING not in [t.state for t in record.trials]
    return [(t.state, t.params, t.values) for t in record.trials if "allocation" in t.user_attrs]


def require_nothing_lost(folder: Path, survived: list[tuple[str, str, int, str]], undisturbed: Path) -> None:
    assert len(set(chunks(folder))) == len(chunks(folder))  # none was made twice
    assert chunks(folder)[: len(survived)] == survived
    assert set(chunks(folder)) == set(chunks(undisturbed))
    assert table(folder) == table(undisturbed)
    assert questions(folder) == questions(undisturbed)
    trials = [e["allocation"] for e in read_events(folder / "ledger.jsonl") if e["event"] == "trial"]
    assert len(trials) == len(set(trials))  # each was told once


def require_whole_or_absent(folder: Path) -> None:
    if (folder / "lookup.json").exists():
        LookupTable.read(folder / "lookup.json")


@pytest.mark.parametrize(("point", "number"), POINTS)
def test_killed_at_a_named_point(study: Path, undisturbed: Path, tmp_path: Path, point: str, number: int) -> None:
    folder = tmp_path / "run"
    assert start(study, folder, point, number).wait(timeout=HANG_S) == -signal.SIGKILL
    require_whole_or_absent(folder)
    survived = chunks(folder)
    run(study, folder)
    require_nothing_lost(folder, survived, undisturbed)


def test_killed_while_the_front_is_timed_it_makes_the_missing_rounds_alone(study: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert start(study, folder, "while the front is timed", 3).wait(timeout=HANG_S) == -signal.SIGKILL
    assert len(rounds(folder)) == 2
    kept = rounds(folder)
    run(study, folder)
    assert rounds(folder)[:2] == kept
    assert len(rounds(folder)) == 3  # latency.n_repeats


def rounds(folder: Path) -> list[dict[str, object]]:
    """What the ledger keeps of each round in which the front was timed."""
    return [e for e in read_events(folder / "ledger.jsonl") if e["event"] == "timing_round"]


def kill_sometime(study: Path, folder: Path, moment: float) -> None:
    """Kill the command's whole process group, a share `moment` of what is usual after its run folder appeared."""
    process = start(study, folder, "never", 1)
    while process.poll() is None and not (folder / "ledger.jsonl").exists():
        time.sleep(0.005)
    time.sleep(moment)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.mark.parametrize("point", ["while a chunk runs", "between ledger and tell"])
def test_killed_race_takes_the_same_decisions_again(study: Path, tmp_path: Path, point: str) -> None:
    """The racing search decides chunk by chunk; what it asks follows from the ledger alone."""
    racing = study.with_name("racing.yaml")
    text = study.read_text().replace("n_images: 60}", "n_images: 40, control_images: 200}", 1)
    racing.write_text(text.replace("tolerance: 0%, racing: false}", "tolerance: 1%, racing: true}"))
    undisturbed, folder = tmp_path / "undisturbed", tmp_path / "run"
    run(racing, undisturbed)
    assert (
        start(racing, folder, point, 36 if point == "while a chunk runs" else 2).wait(timeout=HANG_S) == -signal.SIGKILL
    )
    survived = chunks(folder)
    assert len(survived) > 30  # the denoisers alone are the first 30
    run(racing, folder)
    require_nothing_lost(folder, survived, undisturbed)


@pytest.mark.parametrize("seed", [*range(4), *(pytest.param(s, marks=pytest.mark.slow) for s in range(4, 34))])
def test_killed_at_random_moments_twice(study: Path, undisturbed: Path, tmp_path: Path, seed: int) -> None:
    folder, rng = tmp_path / "run", random.Random(seed)
    for _ in range(2):
        kill_sometime(study, folder, rng.uniform(0, 2))
        require_whole_or_absent(folder)
    survived = chunks(folder)
    run(study, folder)
    require_nothing_lost(folder, survived, undisturbed)


@pytest.mark.parametrize("limit", BYTES_LEFT)
def test_full_disk_is_said_without_a_traceback_and_the_same_command_goes_on(
    study: Path, undisturbed: Path, tmp_path: Path, limit: int
) -> None:
    """A limit on the size of any file plays the disk: the ledger, the database or the report meets it first."""
    folder = tmp_path / "run"
    said = subprocess.run(
        [sys.executable, "-m", "tstitch_search", "run", study, "-o", folder],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=False,
    )
    assert said.returncode == 3, said.stderr
    assert "make room" in said.stderr
    assert "Traceback" not in said.stderr
    require_whole_or_absent(folder)
    survived = chunks(folder)
    run(study, folder)
    require_nothing_lost(folder, survived, undisturbed)
