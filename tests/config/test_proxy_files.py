"""Labels, prompts and control images from files: what is read, how it is shared out, and files that are refused."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tstitch_search.config.models import ProxyFiles, ProxySetConfig
from tstitch_search.config.proxy_files import parse_labels, read_proxy_files
from tstitch_search.errors import ConfigError

N_SEARCH, N_CONFIRM = 3, 2


def read(folder: Path, **config: Any) -> ProxyFiles:
    return read_proxy_files(ProxySetConfig(**config), 10, N_SEARCH, N_CONFIRM, folder)


def test_without_files_there_is_nothing_to_read(tmp_path: Path) -> None:
    assert read(tmp_path, labels="random") == ProxyFiles(n_search=N_SEARCH)


def test_all_entries_are_kept_and_the_files_are_hashed(tmp_path: Path) -> None:
    (tmp_path / "labels").write_text("".join(f"{i}\n" for i in range(9)))
    (tmp_path / "prompts.txt").write_text("\ufeffa shoe\r\n bag \nhat\ncoat\nshirt\ndress\n\n")
    (tmp_path / "edges" / "deeper").mkdir(parents=True)
    for name in ("b.png", "deeper/a.png", "a.jpg", "c.bmp", "d.webp", "e.PNG"):
        Image.new("RGB", (4, 4)).save(tmp_path / "edges" / name)
    (tmp_path / "edges" / "notes.txt").write_text("no image")
    found = read(tmp_path, labels="labels", prompts="prompts.txt", control_images="edges")
    assert found.n_search == N_SEARCH
    assert found.labels == tuple(range(9))
    assert found.prompts == ("a shoe", "bag", "hat", "coat", "shirt", "dress")
    assert found.n_entries == 6
    assert [str(p.relative_to(tmp_path / "edges")) for p in found.control_images or ()] == [
        "a.jpg", "b.png", "c.bmp", "d.webp", "deeper/a.png", "e.PNG",
    ]  # fmt: skip
    assert dict(found.sha256) == {
        key: hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
        for key, name in (("labels", "labels"), ("prompts", "prompts.txt"))
    }


@given(st.lists(st.integers(0, 9)))
def test_labels_written_one_per_line_are_read_back(labels: list[int]) -> None:
    assert parse_labels("".join(f"{label}\n" for label in labels), 10) == labels


@pytest.mark.parametrize("line", ["", "-1", "10", "1.0", "one", "1 2", "²", "9" * 5000])
def test_what_is_no_label_is_refused_with_its_line(line: str) -> None:
    with pytest.raises(ValueError, match=r"line 2 is '.*, expected a class label from 0 to 9"):
        parse_labels(f"3\n{line}\n4\n", 10)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"prompts": "missing.txt"}, r"^prompts: expected a file, and '.*missing.txt' is none"),
        ({"prompts": "."}, "^prompts: expected a file"),
        ({"prompts": "a\0b.txt"}, "^prompts: "),
        ({"prompts": "four.txt"}, r"four.txt holds 4, expected at least 5: .* 3 images of the search and the 2 of"),
        ({"prompts": "latin.txt"}, "latin.txt is not UTF-8"),
        ({"prompts": "pointer.tsv"}, "pointer.tsv is a Git LFS pointer"),
        ({"prompts": "page.json"}, "page.json is a web page"),
        ({"labels": "nothing"}, "nothing is empty"),
        ({"control_images": "nowhere"}, "^control_images: .*nowhere holds no images"),
        ({"control_images": "two"}, r"two holds 2, expected at least 5"),
    ],
)
def test_files_that_will_not_do_are_named_with_what_was_expected(
    tmp_path: Path, config: dict[str, str], message: str
) -> None:
    (tmp_path / "four.txt").write_text("a\nb\nc\nd\n")
    (tmp_path / "latin.txt").write_bytes("é\n".encode("latin-1") * 5)
    (tmp_path / "pointer.tsv").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:12\n")
    (tmp_path / "page.json").write_text("<!doctype html><html></html>")
    (tmp_path / "nothing").touch()
    (tmp_path / "two").mkdir()
    for name in "ab":
        Image.new("L", (4, 4)).save(tmp_path / "two" / f"{name}.png")
    with pytest.raises(ConfigError, match=message) as caught:
        read(tmp_path, **config)
    assert caught.value.hint
