"""Rivals are read as they stand, or refused naming file and line, before anything runs."""

from pathlib import Path

import pytest

from tstitch_search.config.rivals import Rival, read_rivals
from tstitch_search.errors import ConfigError, EnvironmentProblem

HEAD = "name,latency_s,fid,source\n"


def test_rivals_are_as_written(tmp_path: Path) -> None:
    (tmp_path / "others.csv").write_text(HEAD + 'A,2.5,11,"x, y"\nB, 3,9.5,z\n')
    assert read_rivals(tmp_path / "others.csv") == (Rival("A", 2.5, 11.0, "x, y"), Rival("B", 3.0, 9.5, "z"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name,latency_s,fid\n", "line 1: the column source is missing"),
        (HEAD.replace("fid", "fid,kid"), "line 1: unknown column 'kid'"),
        (HEAD, "line 2: expected a row"),
        (HEAD + "A,0,11,x\n", "line 2: latency_s is '0'"),
        (HEAD + "A,1,11,x\nB,1,nan,x\n", "line 3: fid is 'nan'"),
        (HEAD + "A,1,11, \n", "line 2: source is blank"),
    ],
)
def test_what_is_no_rival_is_refused_naming_file_and_line(tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "others.csv").write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_rivals(tmp_path / "others.csv")
    assert f"rivals: {tmp_path / 'others.csv'}: {expected}" in caught.value.message


def test_a_file_that_is_not_there_is_an_environment_problem(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentProblem, match="cannot read"):
        read_rivals(tmp_path / "nowhere.csv")
