"""The examples run as they stand."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

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
    assert done.stdout.split() == ["S*20", "B*14-XL*6"]
    fast, good = (Image.open(tmp_path / name) for name in ("fast.png", "good.png"))
    assert fast.size == good.size == (320, 32)
    assert fast.tobytes() != good.tobytes()


def test_a_server_picks_for_each_budget_and_says_when_none_fits(tmp_path: Path) -> None:
    done = run("serve_by_budget.py", "0.05", "0.2", "2", cwd=tmp_path)
    assert done.stdout.split("\n")[:3] == ["0.05 S*20", "0.2 B*18-XL*2", "2.0 XL*20"]
    assert "0.05 s: no entry takes at most 0.05 s; the fastest is S*20" in done.stderr


@pytest.mark.parametrize("example", sorted(path.name for path in (ROOT / "examples").glob("*.py")))
def test_no_example_is_left_untested(example: str) -> None:
    tested = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    assert example in tested
