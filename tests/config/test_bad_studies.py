"""Every file in tests/bad_studies says in its first line what its message must contain."""

from pathlib import Path

import pytest

from tstitch_search.config import load_study
from tstitch_search.errors import ConfigError

FOLDER = Path(__file__).parents[1] / "bad_studies"
BAD_STUDIES = sorted(FOLDER.glob("*.yaml"))


@pytest.mark.parametrize("path", BAD_STUDIES, ids=lambda path: path.stem)
def test_a_bad_study_is_one_config_error_with_the_expected_text_and_a_hint(path: Path) -> None:
    mark, _, expected = path.read_text().splitlines()[0].partition(": ")
    assert mark == "# expect"
    assert expected
    with pytest.raises(ConfigError) as caught:
        load_study(path)
    assert expected in caught.value.message
    assert caught.value.hint


def test_every_bad_space_is_used_by_a_bad_study() -> None:
    used = "".join(path.read_text() for path in BAD_STUDIES)
    assert [space.name for space in (FOLDER / "spaces").glob("*.yaml") if f"spaces/{space.name}" not in used] == []


def test_several_problems_are_listed_one_per_line_in_file_order() -> None:
    with pytest.raises(ConfigError) as caught:
        load_study(FOLDER / "several_problems.yaml")
    first, second = caught.value.message.splitlines()
    assert "several_problems.yaml:7: quality.n_images: got 3" in first
    assert "several_problems.yaml:9: unknown key search.trials" in second


def test_a_thousand_problems_do_not_flood_the_terminal(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text("".join(f"colour_{i}: red\n" for i in range(1000)))
    with pytest.raises(ConfigError) as caught:
        load_study(path)
    lines = caught.value.message.splitlines()
    assert len(lines) == 21
    assert lines[-1] == "and 983 more"  # three required keys are missing as well
