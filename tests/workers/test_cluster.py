"""Several machines, played by several Ray nodes on this one: one dies at work, another joins."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tstitch_search.config import load_study
from tstitch_search.errors import ConfigError, EnvironmentProblem
from tstitch_search.workers.timing import TimingDevice

STORY = Path(__file__).with_name("cluster_story.py")


@pytest.mark.slow
def test_a_node_dies_with_a_chunk_in_flight_and_one_that_joins_makes_chunks() -> None:
    """In an interpreter of its own, which ends with its cluster; the story asserts both, and that nothing was lost."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    told = subprocess.run(
        [sys.executable, STORY], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert told.returncode == 0, told.stderr[-3000:]
    assert told.stdout.splitlines()[-1] == "all told"


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
