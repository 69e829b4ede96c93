"""A run tells programs what it does: JSON lines on stderr, and curves for TensorBoard."""

import json
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest
from children import HANG_S

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A recorded study run with --json-log and --tracker tensorboard, and what it said."""
    folder = tmp_path_factory.mktemp("logged") / "run"
    command = [
        "run",
        ROOT / "studies" / "recorded" / "ldm.yaml",
        "-o",
        folder,
        "--json-log",
        "--tracker",
        "tensorboard",
    ]
    said = subprocess.run(
        [sys.executable, "-m", "tstitch_search", *map(str, command)], capture_output=True, text=True, timeout=HANG_S
    )
    return folder, said


def test_every_line_on_stderr_is_an_event_with_its_time(logged):
    _, said = logged
    assert said.returncode == 0, said.stderr
    events = [json.loads(line) for line in said.stderr.splitlines()]
    assert {"stage", "note", "chunk", "expect"} <= {e["event"] for e in events}
    assert all(datetime.fromisoformat(e["at"]).utcoffset() is not None for e in events)
    assert next(e["name"] for e in events if e["event"] == "stage") == "calibrate"


def test_an_error_is_an_event_too(tmp_path):
    command = [sys.executable, "-m", "tstitch_search", "run", "nowhere.yaml", "--json-log"]
    said = subprocess.run(command, capture_output=True, text=True, timeout=HANG_S, cwd=tmp_path)
    (event,) = map(json.loads, said.stderr.splitlines())
    assert (said.returncode, event["event"], event["exit_code"]) == (2, "error", 2)
    assert "nowhere.yaml" in event["message"]


def test_tensorboard_files_hold_the_trials_of_the_ledger(logged):
    folder, _ = logged
    (path,) = (folder / "tensorboard").iterdir()
    content = path.read_bytes()
    assert b"search/fid" in content
    assert b"search/latency_s" in content
    assert b"front/fid" in content
