"""Every file in tests/bad_studies says in its first line what its message must contain."""

import shutil
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


@pytest.mark.parametrize(
    "mistake",
    [
        "quality: {n_imagess: 250, control_images: 400}",  # which n_images are 1000 by default
        "qualityy: {n_images: 50}",
        "quality: {objective: hps_v2, hps_weight: file.pt}",  # hps_v2 without hps_weights is an error
    ],
)
def test_one_mistyped_key_is_one_problem_whatever_follows_from_it(tmp_path: Path, mistake: str) -> None:
    shutil.copytree(FOLDER, tmp_path / "bad")
    path = tmp_path / "bad" / "study.yaml"
    lines = (FOLDER / "several_problems.yaml").read_text().splitlines()
    space = next(line for line in lines if line.startswith("search_space:"))
    path.write_text(f"name: typo\n{space}\nguidance_scale: 1\nproxy_set: {{chunk_size: 50}}\n{mistake}\n")
    with pytest.raises(ConfigError) as caught:
        load_study(path)
    (problem,) = caught.value.message.splitlines()
    assert "unknown key" in problem
    assert "did you mean" in problem


def test_a_search_space_in_a_studys_place_is_called_that() -> None:
    path = Path(__file__).parents[2] / "search_spaces" / "fashion_quickstart.yaml"
    with pytest.raises(ConfigError, match=r"fashion_quickstart.yaml is a search space, expected a study") as caught:
        load_study(path)
    assert caught.value.hint == "give the study whose search_space it is"
