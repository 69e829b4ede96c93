"""The real command in a real process, with real Ray workers, on a tiny family of random weights."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from children import HANG_S

from tstitch_search.ledger import read_events

SMALL = ["--set", "search.n_trials=5", "--set", "confirm.n_images=20", "--set", "confirm.max_entries=3"]


def command(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tstitch_search", *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=HANG_S,
    )


@pytest.fixture(scope="module")
def finished(tiny_family, tmp_path_factory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """The run folder of a whole study on two Ray workers, and what the command said."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    ray = ["--set", "workers.pool=ray", "--workers", "2"]
    return folder, command("run", tiny_family / "study.yaml", *ray, *SMALL, "-o", folder)


def events(folder: Path, kind: str) -> list[dict]:
    return [e for e in read_events(folder / "ledger.jsonl") if e["event"] == kind]


def test_run_ends_well_and_leaves_every_promised_file(finished):
    folder, said = finished
    assert said.returncode == 0, said.stderr
    for name in ("study.resolved.yaml", "environment.json", "ledger.jsonl", "study.db", "lookup.json", "report.html"):
        assert (folder / name).stat().st_size > 0
    assert "Pareto front of tiny" in said.stdout
    assert "searching" in said.stderr


def test_each_worker_loads_each_member_once(finished):
    loaded = events(finished[0], "loaded")
    assert Counter(e["worker"] for e in loaded) == {"worker-0": 1, "worker-1": 1}
    assert all(set(e["load_s"]) == {"S", "B", "XL"} for e in loaded)


def test_chunks_of_one_allocation_are_made_by_two_workers(finished):
    workers: dict[str, set[str]] = {}
    for e in events(finished[0], "chunk"):
        workers.setdefault(e["allocation"], set()).add(e["worker"])
    assert any(len(names) == 2 for names in workers.values())


def test_second_run_measures_nothing_new_and_says_so(finished, tiny_family):
    folder, _ = finished
    before = (folder / "lookup.json").read_bytes()
    n_chunks = len(events(folder, "chunk"))
    ray = ["--set", "workers.pool=ray", "--workers", "2"]
    said = command("run", tiny_family / "study.yaml", *ray, *SMALL, "-o", folder)
    assert said.returncode == 0, said.stderr
    assert "Nothing new was measured" in said.stdout
    assert len(events(folder, "chunk")) == n_chunks
    assert (folder / "lookup.json").read_bytes() == before


def test_pick_answers_from_the_written_table(finished):
    folder, _ = finished
    table = json.loads((folder / "lookup.json").read_text())
    slowest = table["entries"][-1]
    said = command("pick", folder / "lookup.json", "--budget", f"{slowest['latency_s'] * 2}s", "--json")
    assert json.loads(said.stdout)["allocation"] == slowest["allocation"]
    refused = command("pick", folder / "lookup.json", "--budget", "1ms")
    assert refused.returncode == 5
    assert "the fastest is" in refused.stderr


def test_optuna_opens_the_study_with_readable_parameters_and_metric_names(finished):
    import optuna

    folder, _ = finished
    study = optuna.load_study(study_name=None, storage=f"sqlite:///{folder / 'study.db'}")
    assert study.metric_names == ["latency_s", "fid"]
    assert set(study.trials[0].params) == {"cut_1", "cut_2"}
    assert all(t.state == optuna.trial.TrialState.COMPLETE for t in study.trials)


@pytest.mark.slow
def test_killed_run_goes_on_with_what_it_had(tiny_family, tmp_path):
    """SIGKILL in the middle; the same command finishes, redoes no finished chunk and leaves no trial RUNNING."""
    import optuna

    folder = tmp_path / "killed"
    arguments = [
        sys.executable,
        "-m",
        "tstitch_search",
        "run",
        str(tiny_family / "study.yaml"),
        *SMALL,
        "-o",
        str(folder),
    ]
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    while process.poll() is None and not _has_chunks(folder, 3):
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    survived = [(e["allocation"], e["first"], e["sha256"]) for e in events(folder, "chunk")]
    assert len(survived) >= 3
    assert not (folder / "lookup.json").exists()

    said = command("run", tiny_family / "study.yaml", *SMALL, "-o", folder)
    assert said.returncode == 0, said.stderr
    chunks = [(e["set"], e["allocation"], e["first"]) for e in events(folder, "chunk")]
    assert len(chunks) == len(set(chunks))
    assert set(survived) <= {(e["allocation"], e["first"], e["sha256"]) for e in events(folder, "chunk")}
    study = optuna.load_study(study_name=None, storage=f"sqlite:///{folder / 'study.db'}")
    assert not [t for t in study.trials if t.state == optuna.trial.TrialState.RUNNING]


@pytest.mark.slow
def test_interrupted_run_says_how_to_go_on(tiny_family, tmp_path):
    folder = tmp_path / "interrupted"
    arguments = [sys.executable, "-m", "tstitch_search", "run", tiny_family / "study.yaml", *SMALL, "-o", folder]
    process = subprocess.Popen(list(map(str, arguments)), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    while process.poll() is None and not _has_chunks(folder, 1):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=HANG_S)
    assert process.returncode == 130
    assert "the same command goes on from here" in said
    assert "Traceback" not in said


def _has_chunks(folder: Path, n: int) -> bool:
    ledger = folder / "ledger.jsonl"
    return ledger.exists() and ledger.read_text().count('"chunk"') >= n


def test_plan_counts_and_prices_without_running(tiny_family, tmp_path):
    said = command("plan", tiny_family / "study.yaml", "-o", tmp_path / "unused", "--json")
    plan = json.loads(said.stdout)
    assert plan["n_allocations"] == 15
    assert plan["device_seconds"] > 0
    assert not (tmp_path / "unused").exists()


@pytest.mark.slow
def test_generate_writes_a_picture_of_the_allocations_asked_for(tiny_family, tmp_path):
    from PIL import Image

    said = command(
        "generate", tiny_family / "study.yaml", "-a", "S*2-XL*2", "-a", "XL*4", "-n", "3", "-o", tmp_path / "grid.png"
    )
    assert said.returncode == 0, said.stderr
    with Image.open(tmp_path / "grid.png") as picture:
        width, height = picture.size
    assert width >= 3 * 64
    assert height >= 2 * 64


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["run", "nowhere.yaml"], 2, "nowhere.yaml"),
        (["run", "{study}", "--set", "quality.n_imags=3"], 2, "n_images"),
        (["run", "{study}", "--set", "workers.device=cuda"], 3, "no NVIDIA GPU"),
        (["run", "{study}", "-o", "/proc/nowhere"], 3, "/proc/nowhere"),
        (["generate", "{study}", "-a", "S*2-XXL*2"], 2, "unknown denoiser 'XXL'"),
        (["generate", "{study}", "-a", "S*2"], 2, "2 steps"),
        (["pick", "nowhere.json"], 2, "nowhere.json"),
        (["run"], 2, "STUDY"),
    ],
)
def test_bad_input_gets_one_message_and_no_traceback(tiny_family, tmp_path, arguments, code, text):
    said = command(*[a.format(study=tiny_family / "study.yaml") for a in arguments], cwd=tmp_path)
    assert said.returncode == code
    assert text in said.stderr
    assert "Traceback" not in said.stderr
    assert not list(tmp_path.iterdir())
