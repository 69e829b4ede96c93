"""Files are whole or absent, also when the disk refuses."""

import re
from pathlib import Path

import pytest

from tstitch_search.errors import EnvironmentProblem
from tstitch_search.files import make_folder, write_whole


def test_writes_the_content_makes_the_folders_and_leaves_nothing_beside(tmp_path: Path):
    path = tmp_path / "a" / "b" / "lookup.json"
    write_whole(path, b"first")
    write_whole(path, b"second")
    assert path.read_bytes() == b"second"
    assert list(path.parent.iterdir()) == [path]


def test_rest_of_a_killed_write_is_replaced(tmp_path: Path):
    path = tmp_path / "lookup.json"
    (tmp_path / "lookup.json.partial").write_bytes(b"half of something lon")
    write_whole(path, b"whole")
    assert path.read_bytes() == b"whole"
    assert list(tmp_path.iterdir()) == [path]


def test_readers_see_the_old_file_or_the_new_one(tmp_path: Path):
    path = tmp_path / "lookup.json"
    write_whole(path, b"old")
    with path.open("rb") as reader:
        write_whole(path, b"new and longer")
        assert reader.read() == b"old"


def test_refused_write_names_the_file_and_leaves_nothing_half_written(tmp_path: Path):
    path = tmp_path / "lookup.json"
    path.mkdir()  # a folder stands where the file should go
    with pytest.raises(EnvironmentProblem, match=re.escape(f"cannot write {path}")) as caught:
        write_whole(path, b"content")
    assert caught.value.hint
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("write", [lambda path: write_whole(path, b""), make_folder])
def test_file_in_the_way_of_a_folder_is_an_error_with_a_hint(tmp_path: Path, write):
    (tmp_path / "reports").write_text("a file")
    path = tmp_path / "reports" / "x"
    with pytest.raises(EnvironmentProblem, match=re.escape(str(path))) as caught:
        write(path)
    assert "writable folder" in caught.value.hint


def test_folder_that_is_there_already_is_fine(tmp_path: Path):
    make_folder(tmp_path / "a" / "b")
    (tmp_path / "a" / "b" / "kept").touch()
    make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b" / "kept").exists()
