"""The key changes with what the numbers depend on, and with nothing else."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from tstitch_search.config import load_study
from tstitch_search.study_run.key import resolve_facts


@pytest.fixture
def family(tiny_family: Path, tmp_path: Path) -> Path:
    """A copy of the tiny family whose study takes its labels from labels.txt."""
    folder = Path(shutil.copytree(tiny_family, tmp_path / "family"))
    study = (folder / "study.yaml").read_text()
    (folder / "study.yaml").write_text(study.replace("{chunk_size: 10}", "{labels: labels.txt, chunk_size: 10}"))
    (folder / "labels.txt").write_text("".join(f"{i % 10}\n" for i in range(100)))
    return folder


def key(folder: Path, *overrides: str) -> Mapping[str, str]:
    return resolve_facts(load_study(folder / "study.yaml", overrides)).key


def changed(before: Mapping[str, str], after: Mapping[str, str]) -> set[str]:
    return {name for name in {*before, *after} if before.get(name) != after.get(name)}


def test_labels_of_another_content_are_another_study_and_of_another_name_are_not(family: Path) -> None:
    before = key(family)
    shutil.copy(family / "labels.txt", family / "copy.txt")
    assert changed(before, key(family, "proxy_set.labels=copy.txt")) == set()
    with (family / "labels.txt").open("a") as stream:
        stream.write("3\n")
    assert changed(before, key(family)) == {"proxy_set.labels"}


def test_where_the_confirmation_set_begins_in_a_file_is_part_of_the_key(family: Path) -> None:
    assert changed(key(family), key(family, "quality.n_images=30")) == {"proxy_set.n_search"}
    assert changed(key(family), key(family, "confirm.n_images=50")) == set()


def test_without_files_the_number_of_images_may_change(tiny_family: Path) -> None:
    before = key(tiny_family)
    assert changed(before, key(tiny_family, "quality.n_images=30")) == set()
    assert not [name for name in before if name.startswith("proxy_set.")]
