"""`show` prints any table that reads, and `diff` says what changed, without comparing what does not compare."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tstitch_search.allocation import Allocation
from tstitch_search.cli import app
from tstitch_search.lookup import LookupTable, Objective, changes
from tstitch_search.report.wording import plus_minus

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "reports" / "small-first-sample" / "lookup.json"
GOLDEN = ROOT / "tests" / "golden" / "lookup_v1.json"
TABLES = [SAMPLE, *sorted((ROOT / "tests" / "golden").glob("lookup_v*.json"))]


def command(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def table() -> LookupTable:
    return LookupTable.read(GOLDEN)


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.stem)
def test_show_prints_the_front_of_a_table_of_any_age(path: Path) -> None:
    said = command("show", path)
    assert said.exit_code == 0, said.exception
    for entry in LookupTable.read(path).entries:
        assert str(entry.allocation) in said.output
    assert LookupTable.from_json(json.loads(command("show", path, "--json").output)) == LookupTable.read(path)


def test_where_columns_find_no_room_each_entry_has_its_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    lines = command("show", SAMPLE).output.splitlines()
    for entry in LookupTable.read(SAMPLE).entries:
        at = next(i for i, line in enumerate(lines) if line.split(" ")[0] == str(entry.allocation))
        assert lines[at + 1].startswith(f"  {plus_minus(entry.latency_s, entry.latency_s_se)} s, ")
    assert max(map(len, lines[:-1])) <= 40


def test_a_table_differs_in_nothing_from_itself(table: LookupTable) -> None:
    found = changes(table, table)
    assert (found.added, found.removed, found.settings) == ((), (), {})
    assert [(k.slowdown, k.quality_change) for k in found.kept] == [(0.0, 0.0)] * len(table.entries)
    assert "settings: none differs" in command("diff", GOLDEN, GOLDEN).output


def test_what_came_went_and_moved_is_told(table: LookupTable, tmp_path: Path) -> None:
    first, second, *others = table.entries
    slower = replace(second, latency_s=second.latency_s * 1.1, quality=second.quality - 0.02)
    new = replace(first, allocation=Allocation.parse("S*18-XL*2"))
    other = replace(table, entries=(new, slower, *others), provenance={**table.provenance, "dtype": "bfloat16"})
    other.write(tmp_path / "other.json")
    said = command("diff", GOLDEN, tmp_path / "other.json")
    assert "front: 3 entries before, 3 after, 2 in both" in said.output
    assert "new   S*18-XL*2" in said.output
    assert "gone  S*20" in said.output
    assert "both  S*8-XL*12  0.61 s, now +10.0%" in said.output
    assert "FID 17.3, now -0.02 ± " in said.output
    assert "dtype: - -> bfloat16" in said.output
    told = json.loads(command("diff", GOLDEN, tmp_path / "other.json", "--json").output)
    assert (told["added"], told["removed"]) == (["S*18-XL*2"], ["S*20"])
    assert told["settings"] == {"dtype": [None, "bfloat16"]}
    assert told["kept"][0]["slowdown"] == pytest.approx(0.1)


@pytest.mark.parametrize("change", ["n_images", "objective"])
def test_qualities_that_do_not_compare_are_not_compared(table: LookupTable, change: str) -> None:
    if change == "n_images":
        other = replace(table, entries=tuple(replace(e, n_images=5000) for e in table.entries))
    else:
        other = replace(table, objective=Objective("kid", "KID", higher_is_better=False))
    assert {kept.quality_change for kept in changes(table, other).kept} == {None}
