"""Signals that stop a run, as a terminal or a job system sends them: to the command and everything it has started."""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from children import HANG_S

from tstitch_search.ledger import read_events

POOLS = {"inline": [], "ray": ["--set", "workers.pool=ray", "--workers", "2"]}
# Chunks of a few seconds, so that a press comes in the middle of one.
SLOW = ["--set", "proxy_set.chunk_size=300", "--set", "quality.n_images=600", "--set", "search.n_trials=5"]
PROMISE = "finishing what is under way; press Ctrl-C again to stop at once"


class Run:
    """A run in a process group of its own; what it says is read as it comes."""

    def __init__(self, study: Path, folder: Path, *arguments: str, wrapper: tuple[str, ...] = ()):
        command = [*wrapper, sys.executable, "-m", "tstitch_search", "run", study, "-o", folder, *SLOW, *arguments]
        inherited = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # ignored, where the suite itself runs under nohup
        self.process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        signal.signal(signal.SIGHUP, inherited)
        self.ledger, self.said, self._heard = folder / "ledger.jsonl", "", threading.Condition()
        self._listener = threading.Thread(target=self._listen)
        self._listener.start()

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._listener.join()

    def _listen(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr:
            for line in self.process.stderr:
                with self._heard:
                    self.said += line
                    self._heard.notify_all()

    def hear(self, text: str) -> None:
        with self._heard:
            assert self._heard.wait_for(lambda: text in self.said, timeout=HANG_S), self.said

    def until_a_chunk_is_made(self) -> None:
        while not self.ledger.exists() or not self.chunks():
            assert self.process.poll() is None, self.said
            time.sleep(0.05)

    def press_ctrl_c(self) -> None:
        os.killpg(self.process.pid, signal.SIGINT)

    def others_left(self) -> list[str]:
        """Command lines of processes of the run's session that live on."""
        session, left = str(self.process.pid), []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                fields = stat.read_text().rpartition(")")[2].split()
                if fields[3] == session and fields[0] != "Z":
                    left.append((stat.parent / "cmdline").read_text().replace("\0", " "))
        return left

    def chunks(self) -> list[tuple[str, int]]:
        return [(e["allocation"], e["first"]) for e in read_events(self.ledger) if e["event"] == "chunk"]


@pytest.mark.slow
@pytest.mark.parametrize("pool", ["inline", "ray"])
def test_first_press_finishes_what_is_under_way_and_says_how_to_go_on(tiny_family, tmp_path, pool):
    with Run(tiny_family / "study.yaml", tmp_path / "run", *POOLS[pool]) as run:
        run.until_a_chunk_is_made()
        time.sleep(0.5)  # the next one, of a few seconds, is under way
        run.press_ctrl_c()
        assert run.process.wait(timeout=HANG_S) == 130
        run.hear("the same command goes on from here: ")
    assert PROMISE in run.said
    assert "Traceback" not in run.said
    assert len(run.chunks()) >= 2


@pytest.mark.slow
def test_second_press_stops_at_once(tiny_family, tmp_path):
    with Run(tiny_family / "study.yaml", tmp_path / "run") as run:
        run.until_a_chunk_is_made()
        n_before = len(run.chunks())
        run.press_ctrl_c()
        run.hear(PROMISE)
        run.press_ctrl_c()
        assert run.process.wait(timeout=HANG_S) == 130
    assert len(run.chunks()) == n_before
    assert "Traceback" not in run.said


ENDED = {"SIGTERM": (signal.SIGTERM, 143), "SIGHUP": (signal.SIGHUP, 129)}
# One chunk of many minutes, and a chunk of a moment.
LONG = ["--set", "proxy_set.chunk_size=30000", "--set", "quality.n_images=30000"]
SHORT = ["--set", "proxy_set.chunk_size=20", "--set", "quality.n_images=4000"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pool", "name", "whom"),
    [
        ("inline", "SIGTERM", "driver"),
        ("inline", "SIGHUP", "group"),
        ("ray", "SIGTERM", "group"),
        ("ray", "SIGHUP", "group"),
    ],
)
def test_a_job_system_ends_a_run(tiny_family, tmp_path, pool, name, whom):
    """Slurm and systemd signal all processes, Kubernetes the first: all end, and the command says how to go on."""
    number, code = ENDED[name]
    with Run(tiny_family / "study.yaml", tmp_path / "run", *SHORT, *POOLS[pool]) as run:
        run.until_a_chunk_is_made()
        (os.kill if whom == "driver" else os.killpg)(run.process.pid, number)
        assert run.process.wait(timeout=HANG_S) == code
        run.hear("the same command goes on from here: ")
        n_made = len(run.chunks())
        deadline = time.monotonic() + 60
        while run.others_left() and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not run.others_left()
    assert "Traceback" not in run.said
    assert n_made >= 1


@pytest.mark.slow
@pytest.mark.parametrize("pool", ["inline", "ray"])
def test_a_chunk_that_needs_longer_is_discarded(tiny_family, tmp_path, pool):
    with Run(tiny_family / "study.yaml", tmp_path / "run", *LONG, *POOLS[pool]) as run:
        run.hear("searching")
        time.sleep(1)
        run.process.terminate()
        assert run.process.wait(timeout=HANG_S) == 143
    assert run.chunks() == []
    assert "Traceback" not in run.said


@pytest.mark.slow
def test_under_nohup_a_run_outlives_its_terminal(tiny_family, tmp_path):
    with Run(tiny_family / "study.yaml", tmp_path / "run", *SHORT, wrapper=("nohup",)) as run:
        run.until_a_chunk_is_made()
        n_before = len(run.chunks())
        os.killpg(run.process.pid, signal.SIGHUP)
        while len(run.chunks()) <= n_before:
            assert run.process.poll() is None, run.said
            time.sleep(0.05)
