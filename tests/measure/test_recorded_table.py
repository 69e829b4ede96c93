"""A table of past measurements is read as it stands, or refused naming file and line."""

from pathlib import Path

import pytest

from tstitch_search.allocation import Allocation
from tstitch_search.config.models import SpaceConfig
from tstitch_search.errors import ConfigError, EnvironmentProblem
from tstitch_search.measure.recorded.table import RecordedTable, read_table

SPACE = SpaceConfig(name="x", denoisers=({"name": "S"}, {"name": "XL"}), n_steps=20, grid=2)
HEAD = "allocation,latency_s,fid\n"
GOOD = HEAD + "S*20,2,30\nS*8-XL*12,12.8,10\nXL*20,20,9\n"


def table(folder: Path, text: str) -> RecordedTable:
    (folder / "table.csv").write_text(text)
    return read_table(folder / "table.csv", SPACE)


def test_rows_are_as_written(tmp_path: Path) -> None:
    text = "fid,allocation,latency_s,fid_se,n_images,clip_score\n30,S*20,2,0.3,5000,0.2\n9, XL*20,20,,,\n"
    rows = table(tmp_path, text).rows
    assert [(str(a), r.latency_s, r.fid, r.fid_se, r.n_images) for a, r in rows.items()] == [
        ("S*20", 2.0, 30.0, 0.3, 5000),
        ("XL*20", 20.0, 9.0, None, None),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "is empty"),
        ("allocation,fid\nS*20,3\n", "line 1: the column latency_s is missing, found allocation, fid"),
        ("allocation,latency_s,fid,fid_sd\n", "line 1: unknown column 'fid_sd', expected allocation, latency_s, fid"),
        ("allocation,latency_s,fid,fid\n", "line 1: a column is there twice"),
        (HEAD, "line 2: expected a row, the file holds none"),
        (GOOD + "S*8-XL*12,1,2\n", "line 5: S*8-XL*12 is there twice"),
        (GOOD + "S*4-S*4-XL*12,1,2\n", "line 5: S*8-XL*12 is there twice"),
        (HEAD + "S*20,nan,2\n", "line 2: latency_s is 'nan', expected a number above 0"),
        (HEAD + "S*20,-1,2\n", "line 2: latency_s is '-1', expected a number above 0"),
        (HEAD + "S*20,1,inf\n", "line 2: fid is 'inf', expected a number above 0"),
        (HEAD + "S*20,1,\n", "line 2: fid is '', expected a number above 0"),
        (HEAD + "S*20,1\n", "line 2: expected 3 fields"),
        (HEAD + "S*20,1,2,3\n", "line 2: expected 3 fields"),
        (HEAD + "S*20,1,2\nM*20,1,2\n", "line 3: M*20: unknown denoiser 'M', the search space has S, XL"),
        (HEAD + "S*19,1,2\n", "line 2: S*19 has 19 steps, the search space has 20 or 10 or 15 or 5"),
        (HEAD + "S20,1,2\n", "line 2: 'S20' is not an allocation"),
        ("allocation,latency_s,fid,fid_se\nS*20,1,2,-1\n", "line 2: fid_se is '-1', expected a number from 0"),
        (HEAD + '"S*20,1,2\n', "unexpected end of data"),
    ],
)
def test_what_is_no_table_is_refused_naming_file_and_line(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        table(tmp_path, text)
    assert f"measure.recorded: {tmp_path / 'table.csv'}: {expected}" in caught.value.message
    assert caught.value.hint


def test_no_file_and_no_text_are_refused(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentProblem, match="cannot read"):
        read_table(tmp_path / "nowhere.csv", SPACE)
    (tmp_path / "table.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not UTF-8"):
        read_table(tmp_path / "table.csv", SPACE)


def test_missing_baselines_are_named(tmp_path: Path) -> None:
    recorded = table(tmp_path, HEAD + "S*10-XL*10,10,10\n")
    with pytest.raises(ConfigError, match=r"lacks S\*20, XL\*20, which every study measures"):
        recorded.require([Allocation.parse("S*20"), Allocation.parse("XL*20"), Allocation.parse("S*10-XL*10")])


def test_step_costs_are_those_that_made_the_times(tmp_path: Path) -> None:
    parts = table(tmp_path, GOOD).parts(("S", "XL"))
    assert parts.step_s == pytest.approx({"S": 0.1, "XL": 1.0})
    assert parts.fixed_s == 0


@pytest.mark.parametrize("fixed_s", [0.0, 0.7])
def test_rows_of_other_step_counts_tell_the_time_outside_the_steps(tmp_path: Path, fixed_s: float) -> None:
    """XL*10 is allowed: the largest with half of the steps is a baseline."""
    steps = {"S*20": 2, "S*8-XL*12": 12.8, "XL*20": 20, "XL*10": 10, "XL*5": 5}
    rows = "".join(f"{name},{seconds + fixed_s},9\n" for name, seconds in steps.items())
    parts = table(tmp_path, HEAD + rows).parts(("S", "XL"))
    assert parts.step_s == pytest.approx({"S": 0.1, "XL": 1.0})
    assert parts.fixed_s == pytest.approx(fixed_s, abs=1e-9)


@pytest.mark.parametrize("time", ["128", "1.28"])
def test_times_that_steps_do_not_explain_are_refused_with_the_residual(tmp_path: Path, time: str) -> None:
    with pytest.raises(ConfigError, match=r"off by \d+% \(root mean square\), most for .*expected at most 10%"):
        table(tmp_path, GOOD.replace("12.8", time)).parts(("S", "XL"))


def test_recorded_errors_become_noise_per_image(tmp_path: Path) -> None:
    text = "allocation,latency_s,fid,fid_se,n_images\nS*20,2,30,0.6,5000\nXL*20,20,10,0.2,5000\nS*8-XL*12,9,12,,\n"
    assert table(tmp_path, text).noise_per_image() == pytest.approx(0.02**2 * 5000)
    assert table(tmp_path, GOOD).noise_per_image() == 0
