"""Experiment trackers hold the curves of a run: those of its ledger, in the tracker's own terms.

What a developer has not installed is skipped; all of it is tested by
`uv run --extra mlflow --extra wandb --with mlflow pytest tests/report/test_trackers.py`.
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from children import HANG_S

import tstitch_search
from tstitch_search.report.trackers import TRACKERS, tracker
from tstitch_search.report.trackers.curves import Curves, Point

ROOT = Path(__file__).parents[2]
STUDY = ROOT / "studies" / "recorded" / "ldm.yaml"
needs_server = pytest.mark.skipif(
    find_spec("mlflow") is None or find_spec("flask") is None, reason="needs mlflow's server: --with mlflow"
)
needs_wandb = pytest.mark.skipif(find_spec("wandb") is None, reason="needs the extra wandb")


def run(folder: Path, name: str, **environment: str) -> list[dict[str, Any]]:
    """The ledger of a recorded study that was run with this tracker."""
    command = [sys.executable, "-m", "tstitch_search", "run", str(STUDY), "-o", str(folder), "--tracker", name]
    given = {**os.environ, **environment}
    done = subprocess.run([*command, "--quiet"], env=given, capture_output=True, text=True, timeout=HANG_S)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in (folder / "ledger.jsonl").read_text().splitlines()]


def values(ledger: list[dict[str, Any]], event: str, key: str) -> list[float]:
    return [e[key] for e in ledger if e["event"] == event]


def test_curves_are_over_trials_images_and_published_values() -> None:
    curves, trial = Curves(), {"event": "trial", "number": 4, "allocation": "S*2", "metric": "fid", "latency_s": 0.5}
    assert curves.points({**trial, "state": "COMPLETE", "quality": 9.0}) == [
        Point("search/latency_s", 0.5, "trial", 4, "S*2"),
        Point("search/fid", 9.0, "trial", 4, "S*2"),
    ]
    assert curves.points({**trial, "state": "FAIL"}) == []
    chunk = {"event": "chunk", "first": 10, "last": 30, "seconds": 2.0}
    assert [curves.points(chunk)[0].step for _ in range(2)] == [20, 40]
    assert curves.points(chunk) == [Point("device_seconds", 6.0, "images", 60)]
    published = {"event": "published", "metric": "kid", "value": 0.1, "allocation": "S*2"}
    assert curves.points(published) == [Point("front/kid", 0.1, "published", 1, "S*2")]
    assert curves.points({"event": "loaded"}) == []


def test_the_command_line_knows_every_tracker() -> None:
    said = subprocess.run(
        [sys.executable, "-m", "tstitch_search", "run", str(STUDY), "--tracker", "nothing"],
        capture_output=True,
        text=True,
        timeout=HANG_S,
        env={**os.environ, "COLUMNS": "200"},
    )
    assert said.returncode == 2
    assert all(name in said.stderr for name in TRACKERS)


def test_the_reporter_of_the_documentation_hears_every_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (code,) = re.findall(r"```python\n(class .*?)```", (ROOT / "docs" / "tools.md").read_text(), re.S)
    monkeypatch.chdir(tmp_path)
    exec(code.replace("studies/recorded/ldm.yaml", str(STUDY)), {"ts": tstitch_search})
    ledger = [json.loads(line) for line in (tmp_path / "ldm" / "ledger.jsonl").read_text().splitlines()]
    said = capsys.readouterr().out.splitlines()
    assert len(said) == len(values(ledger, "trial", "quality")) + 1
    assert said[-1] == f"the end; best: {min(values(ledger, 'trial', 'quality'))}"


@pytest.mark.parametrize("name", [name for name, (_, package) in TRACKERS.items() if find_spec(package) is None])
def test_a_tracker_that_is_not_installed_is_refused_with_its_extra(name: str, tmp_path: Path) -> None:
    from tstitch_search.errors import EnvironmentProblem

    with pytest.raises(EnvironmentProblem, match="not installed") as found:
        tracker(name, tmp_path, "study")
    assert f"tstitch-search[{name}]" in found.value.hint


@needs_wandb
@pytest.mark.slow
def test_weights_and_biases_offline_writes_the_curves_to_the_run_folder(tmp_path: Path) -> None:
    ledger = run(tmp_path / "run", "wandb", WANDB_MODE="offline")
    (file,) = (tmp_path / "run" / "wandb").glob("offline-run-*/run-*.wandb")
    content = file.read_bytes()
    assert content.count(b"search/latency_s") >= len(values(ledger, "trial", "quality"))
    for value in (*values(ledger, "trial", "quality"), *values(ledger, "published", "value")):
        assert json.dumps(value).encode()[:10] in content
    assert b"space.denoisers" in content


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    """The address of an MLflow server and its process."""
    folder = tmp_path_factory.mktemp("mlflow")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder}/runs.db", "--artifacts-destination", str(folder / "files")]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, start_new_session=True)
    try:
        for _ in range(3000):  # a busy machine takes its time
            assert process.poll() is None, (folder / "log").read_text()
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                break
            except (OSError, urllib.error.URLError):
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}", process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(HANG_S)


def ask(server: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    data = None if body is None else json.dumps(body).encode()
    asked = urllib.request.Request(
        f"{server}/api/2.0/mlflow/{path}", data=data, headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(asked, timeout=HANG_S) as answer:
        found: dict[str, Any] = json.load(answer)
        return found


@needs_server
def test_an_mlflow_server_holds_the_curves_the_key_the_table_and_the_report(
    server: tuple[str, Any], tmp_path: Path
) -> None:
    address, _ = server
    ledger = run(tmp_path / "run", "mlflow", MLFLOW_TRACKING_URI=address)
    experiment = ask(address, "experiments/get-by-name?experiment_name=tstitch-search")["experiment"]
    (found,) = ask(address, "runs/search", {"experiment_ids": [experiment["experiment_id"]]})["runs"]
    number = found["info"]["run_id"]
    assert (found["info"]["run_name"], found["info"]["status"]) == ("ldm", "FINISHED")
    for name, expected in (
        ("search/fid", values(ledger, "trial", "quality")),
        ("search/latency_s", values(ledger, "trial", "latency_s")),
        ("front/fid", values(ledger, "published", "value")),
    ):
        points = ask(address, f"metrics/get-history?run_id={number}&metric_key={name}")["metrics"]
        assert [point["value"] for point in sorted(points, key=lambda p: int(p["step"]))] == expected
    (opened,) = (e for e in ledger if e["event"] == "opened")
    assert {p["key"]: p["value"] for p in found["data"]["params"]} == opened["key"]
    files = ask(address, f"artifacts/list?run_id={number}")["files"]
    assert {file["path"] for file in files} == {"study.resolved.yaml", "lookup.json", "report.html"}


SILENCED = """
import sys
from pathlib import Path
from tstitch_search.errors import EnvironmentProblem
from tstitch_search.report.trackers import tracker
made = tracker("mlflow", Path(sys.argv[1]), "study")
print("ready", flush=True)
sys.stdin.readline()  # now the server is dead
made.event({"event": "chunk", "first": 0, "last": 10, "seconds": 1.0})
made.close()
try:
    tracker("mlflow", Path(sys.argv[1]), "study")
except EnvironmentProblem as error:
    print(error)
"""


@needs_server
def test_a_server_that_dies_meanwhile_ends_no_run_and_a_dead_one_is_refused(
    server: tuple[str, "subprocess.Popen[bytes]"], tmp_path: Path
) -> None:
    address, process = server
    retries = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "5"}
    environment = {**os.environ, **retries, "MLFLOW_TRACKING_URI": address, "PYTHONPATH": str(ROOT)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    command = [sys.executable, "-c", SILENCED, str(tmp_path)]
    with subprocess.Popen(command, env=environment, text=True, **pipes) as program:
        assert program.stdout.readline() == "ready\n", program.stderr.read()
        os.killpg(process.pid, signal.SIGKILL)
        said, complaint = program.communicate("\n", timeout=HANG_S)
    assert program.returncode == 0, complaint
    assert "MLflow did not take all of the run" in complaint
    assert said.startswith("MLflow takes no run: ")
