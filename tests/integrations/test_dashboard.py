"""optuna-dashboard opens the record of a run that goes on, and disturbs nothing. Skipped where it is not installed."""

import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from urllib.error import URLError

import optuna
import pytest
from crash.recorded_study import write_study

DASHBOARD = shutil.which("optuna-dashboard", path=Path(sys.executable).parent)


def get(port: int, path: str) -> dict[str, object] | None:
    """What the dashboard answers; None while it is not up yet."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
            return json.load(answer)
    except URLError:
        return None


def until_all_are_shown(port: int, n_trials: int) -> dict[str, object]:
    """The study as the dashboard has it once it has looked again."""
    for _ in range(60):
        shown = get(port, "/api/studies/1")
        if shown is not None and len(shown["trials"]) == n_trials:
            return shown
        time.sleep(0.5)
    raise AssertionError(f"the dashboard shows {len(shown['trials'])} of {n_trials} trials")


@pytest.mark.skipif(DASHBOARD is None, reason="optuna-dashboard is not installed")
def test_dashboard_lists_the_best_trials_of_a_run_that_goes_on_and_locks_nothing(tmp_path: Path) -> None:
    assert DASHBOARD is not None
    study, folder = write_study(tmp_path), tmp_path / "run"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tstitch_search", "run", study, "-o", folder, "--set", "search.n_trials=28"]
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not (folder / "study.db").exists():
        assert run.poll() is None
        time.sleep(0.05)
    dashboard = subprocess.Popen(
        [DASHBOARD, f"sqlite:///{folder / 'study.db'}", "--port", str(port)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        while (listed := get(port, "/api/studies")) is None:
            assert dashboard.poll() is None
            time.sleep(0.1)
        while run.poll() is None:
            get(port, "/api/studies/1")
        _, said = run.communicate()
        assert run.returncode == 0, said
        assert "locked" not in said
        (summary,) = listed["study_summaries"]
        assert summary["study_name"] == "fragile at n = 60"
        record = optuna.load_study(study_name=None, storage=f"sqlite:///{folder / 'study.db'}")
        shown = until_all_are_shown(port, len(record.trials))
        assert {t["number"] for t in shown["best_trials"]} == {t.number for t in record.best_trials}
    finally:
        dashboard.terminate()
        dashboard.wait()
