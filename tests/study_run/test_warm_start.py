"""A study that begins with what an earlier one knows; a table of other members or another metric is refused."""

import json
from pathlib import Path

import pytest

from tstitch_search.errors import ConfigError

BY_MODEL = ("search.sampler=known_latency", "search.racing=false")


@pytest.fixture
def earlier(plain) -> Path:
    return plain.outcome.folder


def test_a_run_folder_or_a_table_can_be_named_and_is_part_of_the_key(run, measurer, earlier) -> None:
    by_folder = run(measurer, *BY_MODEL, f"search.warm_start=[{earlier}]", folder="a")
    by_table = run(measurer, *BY_MODEL, f"search.warm_start=[{earlier / 'lookup.json'}]", folder="b")
    keys = [outcome.table.provenance["key"] for outcome in (by_folder, by_table)]
    assert keys[0] == keys[1]
    assert len(keys[0]["search.warm_start"]) == 64
    assert by_folder.table.entries == by_table.table.entries
    assert run(measurer, *BY_MODEL, f"search.warm_start=[{earlier}]", folder="a").n_new == 0


def _changed(earlier: Path, tmp_path: Path, before: str, after: str) -> Path:
    path = tmp_path / "changed.json"
    path.write_text((earlier / "lookup.json").read_text().replace(before, after))
    return path


def test_a_table_of_other_members_is_refused_naming_them(run, measurer, earlier, tmp_path) -> None:
    other = _changed(earlier, tmp_path, "XL", "Huge")
    table = json.loads(other.read_text())
    for entry in (*table["entries"], *table["candidates"]):
        assert "XL" not in entry["allocation"]
    with pytest.raises(ConfigError, match=r"knows \d+ allocations of S, B, XL.*: its denoisers Huge are none"):
        run(measurer, *BY_MODEL, f"search.warm_start=[{other}]")


def test_a_table_of_another_metric_and_one_that_is_not_there_are_refused(run, measurer, earlier, tmp_path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere.json cannot be read"):
        run(measurer, *BY_MODEL, f"search.warm_start=[{tmp_path / 'nowhere.json'}]")
    other = _changed(earlier, tmp_path, '"fid', '"kid')
    with pytest.raises(ConfigError, match=r"changed.json is about FID, and the study's objective is"):
        run(measurer, *BY_MODEL, f"search.warm_start=[{other}]")


def test_a_sampler_without_a_model_has_no_use_for_one(run, measurer, earlier) -> None:
    with pytest.raises(ConfigError, match="got 1 with the sampler enumerate, expected known_latency"):
        run(measurer, f"search.warm_start=[{earlier}]")
