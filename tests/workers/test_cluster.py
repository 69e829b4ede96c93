"""Several machines, played by several Ray nodes on this one: one dies at work, another joins."""

import os
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import pytest
from children import HANG_S

from tstitch_search.config import load_study
from tstitch_search.errors import ConfigError, EnvironmentProblem
from tstitch_search.workers.timing import TimingDevice

STORY = Path(__file__).with_name("cluster_story.py")
CLIENT_STORY = Path(__file__).with_name("client_story.py")


@pytest.mark.slow
def test_a_node_dies_with_a_chunk_in_flight_and_one_that_joins_makes_chunks() -> None:
    """In an interpreter of its own, which ends with its cluster; the story asserts both, and that nothing was lost."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    told = subprocess.run(
        [sys.executable, STORY], env=environment, capture_output=True, text=True, timeout=HANG_S, check=False
    )
    assert told.returncode == 0, told.stderr[-3000:]
    assert told.stdout.splitlines()[-1] == "all told"


@pytest.mark.slow
def test_a_driver_elsewhere_works_through_the_client_server_of_a_cluster(tmp_path: Path) -> None:
    """The head is a process of its own; chunks come back whole, and a worker that hangs is replaced."""
    pytest.importorskip("grpc", reason="ray[client] is not installed")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    environment |= {"RAY_AUTH_MODE": "token", "RAY_worker_niceness": "0", "RAY_USAGE_STATS_ENABLED": "0"}
    environment["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] = "0"  # a head that was not started by `uv run`, as these tests may be
    port, client_port = free_ports(2)
    head = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--num-cpus=2"]
    head += [f"--port={port}", f"--ray-client-server-port={client_port}", "--include-dashboard=false"]
    head += [f"--object-store-memory={80 * 2**20}", "--min-worker-port=0", "--max-worker-port=0"]
    with tempfile.TemporaryDirectory(prefix="ray") as folder, (tmp_path / "head.log").open("w") as log:
        cluster = subprocess.Popen([*head, f"--temp-dir={folder}"], env=environment, stdout=log, stderr=log)
        try:
            until_it_listens(client_port)
            told = subprocess.run(
                [sys.executable, CLIENT_STORY, f"ray://127.0.0.1:{client_port}", tmp_path / "hung"],
                env=environment,
                capture_output=True,
                text=True,
                timeout=HANG_S,
                check=False,
            )
        finally:
            cluster.terminate()
            cluster.wait(60)
    assert told.returncode == 0, told.stderr[-3000:]
    assert told.stdout.splitlines()[-1] == "all told"


def free_ports(n: int) -> list[int]:
    """Ports that nobody listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(n)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def until_it_listens(port: int) -> None:
    """Wait for a server on this machine."""
    end = time.monotonic() + 120
    while time.monotonic() < end:
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        time.sleep(0.5)
    raise AssertionError(f"nobody listens on port {port}")


class TestTimingDevice:
    def test_equal_devices_need_no_name(self) -> None:
        timing = TimingDevice(None)
        timing.settle(["NVIDIA H200", "NVIDIA H200"])
        assert timing.is_on("NVIDIA H200")
        timing.settle(["NVIDIA H200", "NVIDIA L4"])  # one that joined later
        assert not timing.is_on("NVIDIA L4")

    def test_different_devices_are_refused_with_the_reason(self) -> None:
        with pytest.raises(EnvironmentProblem, match=r"different devices \(NVIDIA H200, NVIDIA L4\)") as caught:
            TimingDevice(None).settle(["NVIDIA L4", "NVIDIA H200"])
        assert "workers.timing_workers" in caught.value.hint

    def test_a_name_chooses_among_them(self) -> None:
        timing = TimingDevice("h200")
        timing.settle(["NVIDIA L4", "NVIDIA H200"])
        assert (timing.is_on("NVIDIA H200"), timing.is_on("NVIDIA L4")) == (True, False)

    def test_a_name_that_none_has_is_refused_with_those_there_are(self) -> None:
        with pytest.raises(EnvironmentProblem, match=r"that times, B200; there are NVIDIA L4"):
            TimingDevice("B200").settle(["NVIDIA L4"])


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        (["workers.max_workers=3"], "got 3 without address"),
        (["workers.pool=ray", "workers.address=auto", "workers.max_workers=3"], "together with n_workers"),
        (["workers.address=auto"], "with pool: inline"),
        (["workers.gpus_per_worker=1.5"], "a share of one GPU, or a whole number"),
        (["workers.gpus_per_worker=0"], "gpus_per_worker"),
    ],
)
def test_settings_that_contradict_are_refused(tiny_family: Path, overrides: list[str], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        load_study(tiny_family / "study.yaml", overrides)
