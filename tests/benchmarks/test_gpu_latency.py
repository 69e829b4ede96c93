"""The benchmark of predicted and measured times runs, reduced, on any machine, and says what it promises."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "benchmarks" / "gpu_latency.py"


@pytest.mark.slow
def test_the_reduced_benchmark_prints_the_papers_sweep_and_writes_nothing() -> None:
    before = {path: path.stat().st_mtime_ns for path in (ROOT / "benchmarks" / "results").iterdir()}
    said = subprocess.run([sys.executable, str(SCRIPT), "--reduced"], capture_output=True, text=True, timeout=300)
    assert said.returncode == 0, said.stderr
    rows = [line.split(" | ") for line in said.stdout.splitlines() if line.startswith("| `")]
    small_first = [f"S*{n}-XL*{10 - n}" for n in range(1, 10)]
    assert [row[0] for row in rows] == [f"| `{text}`" for text in ("XL*10", *small_first, "S*10", "B*10")]
    paper = json.loads((SCRIPT.parent / "paper_dit_times.json").read_text())
    assert [float(row[6]) for row in rows] == [*paper["time_s"], paper["alone_s"]["B"]]
    assert "Predictions are off by" in said.stdout
    assert {path: path.stat().st_mtime_ns for path in (ROOT / "benchmarks" / "results").iterdir()} == before
