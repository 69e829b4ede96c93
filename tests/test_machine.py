"""What is done about other processes on this machine, seen with real ones."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from children import HANG_S

SETTINGS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
ASKED = (
    "from tstitch_search.machine import share_cores; import os; share_cores(); print(os.environ.get('GOMP_SPINCOUNT'))"
)


@pytest.fixture
def neighbour() -> Iterator[subprocess.Popen[bytes]]:
    """A process that takes a core, as much of it as there is."""
    command = [sys.executable, "-c", "print(flush=True)\nwhile True: pass"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()  # it is under way
        yield process
        process.kill()


def spins(**settings: str) -> str:
    """How long threads of a new process spin, in rounds, if it says."""
    environment = {k: v for k, v in os.environ.items() if k not in SETTINGS} | settings
    command = [sys.executable, "-c", ASKED]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=HANG_S)
    return done.stdout.strip()


def test_beside_a_busy_process_threads_do_not_spin_for_long(neighbour: subprocess.Popen[bytes]) -> None:
    assert spins() == "1000"


def test_what_a_user_says_of_waiting_threads_stays(neighbour: subprocess.Popen[bytes]) -> None:
    assert spins(GOMP_SPINCOUNT="7") == "7"
    assert spins(OMP_WAIT_POLICY="ACTIVE") == "None"
