"""What counts as a plain YAML document, and that lines are right."""

from pathlib import Path

import pytest

from tstitch_search.config.document import MAX_BYTES, Document, Place, parse_document, read_document
from tstitch_search.errors import ConfigError


def parse(text: str) -> Document:
    return parse_document(text, lambda line: Place(line, f"x.yaml:{line}"))


def test_every_key_and_item_knows_its_line() -> None:
    document = parse("# a comment\na: 1\nb:\n  c: [1,\n    2]\n\n  d:\n    - e: x\n")
    lines = {key: place.order for key, place in document.places.items()}
    assert lines == {
        (): 2,
        ("a",): 2,
        ("b",): 3,
        ("b", "c"): 4,
        ("b", "c", 0): 4,
        ("b", "c", 1): 5,
        ("b", "d"): 7,
        ("b", "d", 0): 8,
        ("b", "d", 0, "e"): 8,
    }
    assert document.place(("b", "missing", "deeper")).label == "x.yaml:3"


def test_scalars_are_numbers_words_and_nothing_else() -> None:
    text = "{a: 1, b: 0.5, c: yes, d: ~, e: 2024-01-01, f: 1_000, g: '5', h: 1e3, i: =, j: 2024-99-99, k: 0b_}"
    assert parse(text).value == {
        "a": 1,
        "b": 0.5,
        "c": True,
        "d": None,
        "e": "2024-01-01",
        "f": 1000,
        "g": "5",
        "h": "1e3",
        "i": "=",
        "j": "2024-99-99",
        "k": "0b_",
    }


def test_an_absurd_number_stays_text_so_that_it_can_be_shown() -> None:
    assert parse("0x" + "f" * 9000).value == "0x" + "f" * 9000
    assert parse("9" * 9000).value == "9" * 9000


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: &x 1\nb: *x", "x.yaml:1: .* anchors"),
        ("a: 1\nb: *x", "x.yaml:2: .* aliases"),
        ("a: 1\n<<: {a: 2}\n<<: {a: 3}", "x.yaml:3: .*'<<' is given twice, first at x.yaml:2"),
        ("a: !!python/object/apply:os.system [ls]", "x.yaml:1: .* tags"),
        ("a: !mine 1", "x.yaml:1: .* tags"),
        ("a: 1\n---\nb: 2", "x.yaml:2: .* another document"),
        ("a: 1\n? [b]\n: 2", "x.yaml:2: .* a key must be a word"),
        ("a: 1\n\na: 2", "x.yaml:3: .*'a' is given twice, first at x.yaml:1"),
        ("a: " + "[" * 21 + "]" * 21, "x.yaml:1: .* more than 20 levels"),
        ("[" * 100_000, "x.yaml:1: .* more than 20 levels"),
        ("a: [" + "1," * 10_000 + "]", "x.yaml:1: .* more than 10000 keys and values"),
        ("a: 1\nb: \x00", "x.yaml:2: .* control character"),
        ("a: 1\nb: '\ud800'", "x.yaml:2: .* control character"),
        ('a: 1\nb: "\\UFFFFFFFF"', "x.yaml:2: .* no such character"),
        ('a: 1\nb: "\\ud800"', "x.yaml:2: .* no such character"),
        ('a: 1\n"\\ud800": 2', "x.yaml:2: .* no such character"),
        ("a: 1\n\tb: 2", "x.yaml:2: cannot be read"),
        ("a: b: c", "x.yaml:1: .* mapping values"),
    ],
)
def test_anything_but_plain_yaml_is_refused_at_its_line(text: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        parse(text)


def test_twenty_levels_are_enough_and_allowed() -> None:
    assert parse("[" * 20 + "]" * 20).value


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", r"x\.yaml:1: the file holds nothing"),
        (b"\n# only a comment\n", r"x\.yaml:1: the file holds nothing"),
        (b"\n- a\n", r"x\.yaml:2: the file holds a list"),
        (b"a: 1\nb: \xff\n", r"x\.yaml:2: is not UTF-8"),
        ("a: 1".encode("utf-16"), r"x\.yaml:1: is not UTF-8"),
        (b"#" * (MAX_BYTES + 1), r"x\.yaml: is larger than 1000000 bytes"),
    ],
)
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=reason):
        read_document(path)


def test_a_byte_order_mark_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: 1\n")
    assert read_document(path).value == {"a": 1}


@pytest.mark.parametrize("name", ["missing.yaml", ".", "x" * 5000, "null\0byte", "no_folder/x.yaml"])
def test_a_path_that_is_no_file_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"cannot be read|is not a file") as caught:
        read_document(tmp_path / name)
    assert caught.value.hint
