"""The Slurm script: real signals, as Slurm sends them, and a run that goes on."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from children import HANG_S

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "examples" / "slurm.sh"
# Slurm's scontrol, as far as the script needs it: a job that is put back into the queue is written down.
SCONTROL = '#!/bin/sh\n[ "$1" = requeue ] && echo "$2" >> "$QUEUE"\n'
COMMAND = f'#!/bin/sh\nexec {sys.executable} -m tstitch_search "$@"\n'


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A node's: the two commands are on PATH, and the job has a number."""
    for name, text in (("scontrol", SCONTROL), ("tstitch-search", COMMAND)):
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    return {
        **os.environ,
        "PATH": path,
        "SLURM_JOB_ID": "4711",
        "QUEUE": str(tmp_path / "queue"),
        "PYTHONPATH": str(ROOT),
    }


def chunks(folder: Path) -> list[tuple[str, str, int]]:
    """The chunks of images in a run folder's ledger."""
    if not (folder / "ledger.jsonl").exists():
        return []
    lines = (folder / "ledger.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in lines if line.endswith("}")]
    return [(e["set"], e["allocation"], e["first"]) for e in events if e["event"] == "chunk"]


@pytest.mark.slow
@pytest.mark.parametrize("whom", ["the script", "every process"])
def test_a_preempted_job_goes_back_into_the_queue_and_goes_on(
    whom: str, environment: dict[str, str], tiny_family: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    settings = ["workers.pool=inline", "quality.n_images=60", "search.n_trials=4", "confirm.max_entries=2"]
    settings += ["confirm.n_images=20", "latency.seconds=2s", "latency.n_repeats=3"]
    arguments = [tiny_family / "study.yaml", "-o", folder, *(a for s in settings for a in ("--set", s))]
    command = ["bash", str(SCRIPT), *map(str, arguments)]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True) as job:
        while len(chunks(folder)) < 3:
            assert job.poll() is None, job.stderr and job.stderr.read()
            time.sleep(0.02)
        (os.kill if whom == "the script" else os.killpg)(job.pid, signal.SIGTERM)
        _, said = job.communicate(timeout=HANG_S)
    assert job.returncode == 143, said
    assert (tmp_path / "queue").read_text() == "4711\n"
    before = chunks(folder)
    assert not (folder / "lookup.json").exists()

    again = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=HANG_S)
    assert again.returncode == 0, again.stderr
    assert (folder / "lookup.json").exists()
    after = chunks(folder)
    assert after[: len(before)] == before
    assert len(set(after)) == len(after) > len(before)
    assert (tmp_path / "queue").read_text() == "4711\n"


def test_a_study_that_is_wrong_ends_the_job_and_is_not_tried_again(environment: dict[str, str], tmp_path: Path) -> None:
    done = subprocess.run(
        ["bash", str(SCRIPT), "nowhere.yaml"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=HANG_S,
        cwd=tmp_path,
    )
    assert done.returncode == 2
    assert "nowhere.yaml" in done.stderr
    assert not (tmp_path / "queue").exists()
