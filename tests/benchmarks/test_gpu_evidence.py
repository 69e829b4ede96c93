"""The script that measures on a GPU runs on a CPU to its last line, keeps what it measured, and makes its page."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from children import HANG_S

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "gpu_evidence"
KINDS = {
    "tests": {"test"},
    "times": {"calibration", "time", "errors"},
    "kinds": {"calibration", "time", "errors"},
    "overhead": {"overhead", "stock"},
    "study": {"stage", "decisions", "agreement"},
    "weights": {"test"},
    "modern": {"step", "switching", "loras"},
}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("evidence") / "results.json"
    command = [sys.executable, str(SCRIPT), "--reduced", "--output", str(path)]
    said = subprocess.run(command, capture_output=True, text=True, timeout=HANG_S)
    assert said.returncode == 0, said.stdout + said.stderr
    return path


@pytest.mark.slow
def test_every_part_gets_done_and_says_what_it_should_take_on_a_gpu(results: Path) -> None:
    parts = json.loads(results.read_text())["parts"]
    assert {name: part["state"] for name, part in parts.items()} == dict.fromkeys(KINDS, "done")
    for name, part in parts.items():
        assert {row["kind"] for row in part["rows"]} - {"not run"} == KINDS[name]
        assert part["estimate"]["floor_s"] <= part["estimate"]["expected_s"] <= part["budget_s"]
    assert sum(part["budget_s"] for part in parts.values()) <= 480


@pytest.mark.slow
def test_what_must_hold_on_any_device_holds_here(results: Path) -> None:
    parts = json.loads(results.read_text())["parts"]
    assert all(row["same_images"] for row in parts["overhead"]["rows"])
    (agreement,) = (row for row in parts["study"]["rows"] if row["kind"] == "agreement")
    assert agreement["same_decisions"]
    assert agreement["same_front"]
    (loras,) = (row for row in parts["modern"]["rows"] if row["kind"] == "loras")
    assert 0 < loras["added_mb"] < loras["copies_mb"]


@pytest.mark.slow
def test_the_page_names_device_goals_and_figures(results: Path, tmp_path: Path) -> None:
    sys.path.insert(0, str(ROOT))
    try:
        from benchmarks.gpu_evidence.page import as_markdown, write_page
    finally:
        sys.path.remove(str(ROOT))
    document = json.loads(results.read_text())
    page = as_markdown(document)
    for expected in (document["machine"]["device"], "median 2 %, worst 5 %", "at most 1 %", "S+compiled", "FLUX"):
        assert expected in page
    with pytest.raises(SystemExit, match="say nothing about a GPU"):
        write_page([results], tmp_path / "page.md")


def test_a_part_that_fails_or_takes_too_long_leaves_what_it_had_and_the_next_goes_on(tmp_path: Path) -> None:
    sys.path.insert(0, str(ROOT))
    try:
        from benchmarks.gpu_evidence.record import Part, Plan, run_parts
    finally:
        sys.path.remove(str(ROOT))

    def fails(part: Part, reduced: bool) -> None:
        part.row("figure", value=1)
        raise ValueError("broken")

    def hangs(part: Part, reduced: bool) -> None:
        part.row("figure", value=2)
        time.sleep(60)

    def works(part: Part, reduced: bool) -> None:
        assert not part.has(1000, "a long one")
        part.facts(value=json.loads(path.read_text())["parts"]["hangs"]["rows"][0]["value"])

    path, document = tmp_path / "results.json", {"parts": {}}
    plans = [Plan(f.__name__, 0.5, f, lambda reduced: {}) for f in (fails, hangs, works)]
    run_parts(plans, document, path, reduced=True)
    parts = json.loads(path.read_text())["parts"]
    assert [part["state"] for part in parts.values()] == ["failed", "stopped at the end of its budget", "done"]
    assert "ValueError: broken" in parts["fails"]["problem"]
    assert [parts[name]["rows"][0]["value"] for name in ("fails", "hangs")] == [1, 2]
    assert parts["works"]["facts"] == {"value": 2}
    assert parts["works"]["rows"][0]["what"] == "a long one"
