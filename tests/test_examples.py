"""The examples run as they stand."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tstitch_search import LookupTable

ROOT = Path(__file__).parent.parent
TABLE = ROOT / "reports" / "quickstart-sample" / "lookup.json"


def run(example: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "default"}
    command = [sys.executable, str(ROOT / "examples" / example), str(TABLE), *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
def test_a_table_entry_is_deployed_on_the_embedded_family(tmp_path: Path) -> None:
    done = run("deploy_zoo.py", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    entries = LookupTable.read(TABLE).entries
    within_half = [entry for entry in entries if entry.latency_s <= entries[-1].latency_s / 2]
    assert done.stdout.split() == [str(entries[0].allocation), str(within_half[-1].allocation)]
    fast, good = (Image.open(tmp_path / name) for name in ("fast.png", "good.png"))
    assert fast.size == good.size == (320, 32)
    assert fast.tobytes() != good.tobytes()


def test_a_server_picks_for_each_budget_and_says_when_none_fits(tmp_path: Path) -> None:
    entries = LookupTable.read(TABLE).entries
    fastest, second, largest = entries[0].allocation, entries[1].allocation, entries[-1].allocation
    too_little, enough = entries[0].latency_s / 2, entries[1].latency_s
    done = run("serve_by_budget.py", str(too_little), str(enough), "1000", cwd=tmp_path)
    assert done.stdout.split("\n")[:3] == [f"{too_little} {fastest}", f"{enough} {second}", f"1000.0 {largest}"]
    assert f"{too_little} s: no entry takes at most {too_little:g} s; the fastest is {fastest}" in done.stderr


@pytest.mark.parametrize("example", sorted(path.name for path in (ROOT / "examples").glob("*.py")))
def test_no_example_is_left_untested(example: str) -> None:
    tested = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    assert example in tested
