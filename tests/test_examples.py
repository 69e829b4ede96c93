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


def test_edges_are_white_on_black_where_a_photograph_changes(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    photo = Image.new("RGB", (90, 60), "white")
    photo.paste((200, 0, 0), (30, 0, 90, 60))
    photo.save(tmp_path / "photos" / "000042.jpg")
    command = [sys.executable, str(ROOT / "examples" / "edge_images.py"), "photos", "edges", "64"]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=300)
    edges = Image.open(tmp_path / "edges" / "000042.png")
    row = [edges.getpixel((x, 32)) for x in range(64)]
    assert edges.size == (64, 64)
    assert set(row) == {0, 255}
    assert 2 <= row.count(255) <= 10
    assert abs(sum(x for x, level in enumerate(row) if level) / row.count(255) - 15.5) <= 4


@pytest.mark.parametrize("example", sorted(path.name for path in (ROOT / "examples").glob("*.py")))
def test_no_example_is_left_untested(example: str) -> None:
    tested = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    assert example in tested
