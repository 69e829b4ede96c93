"""Whatever happens to a study or space file, loading it gives a `Study` or a `ConfigError`."""

import random
from pathlib import Path

from tstitch_search.config import Study, load_study
from tstitch_search.errors import ConfigError

ROOT = Path(__file__).parents[2]
SNIPPETS = [
    b"&a ",
    b"*a",
    b"!!set ",
    b"{",
    b"]",
    b"\t",
    b"\x00",
    b"\xff",
    b"---\n",
    b"? ",
    b": ",
    b"- ",
    b"|\n",
    b'"\\UFFFFFFFF"',
]
VALUES = [
    b"~",
    b"yes",
    b"-1",
    b"0",
    b".nan",
    b".inf",
    b"1e400",
    b"0x" + b"f" * 400,
    b"[]",
    b"{}",
    b"''",
    b"5%",
    b"2h",
    b"\xc3\xa9",
]


def mutate(text: bytes, rng: random.Random) -> bytes:
    """`text` with one to three small accidents."""
    for _ in range(rng.randint(1, 3)):
        lines = text.splitlines(keepends=True) or [b"\n"]
        i, at = rng.randrange(len(lines)), rng.randrange(len(text) + 1)
        accident = rng.randrange(7)
        if accident == 0:  # a byte becomes another
            text = text[:at] + rng.randbytes(1) + text[at + 1 :]
        elif accident == 1:  # a piece is lost
            text = text[:at] + text[at + rng.randint(1, 20) :]
        elif accident == 2:  # something is typed
            text = text[:at] + rng.choice(SNIPPETS) + text[at:]
        elif accident == 3:  # a value becomes another
            key, colon, _ = lines[i].partition(b":")
            text = b"".join([*lines[:i], key, colon, b" ", rng.choice(VALUES), b"\n", *lines[i + 1 :]])
        elif accident == 4:  # a line is given twice
            text = b"".join([*lines[: i + 1], lines[i], *lines[i + 1 :]])
        elif accident == 5:  # a line is lost
            text = b"".join([*lines[:i], *lines[i + 1 :]])
        else:  # a line moves in
            text = b"".join([*lines[:i], b"  " + lines[i], *lines[i + 1 :]])
    return text


def outcome(path: Path) -> Study | ConfigError:
    """What loading comes to; any other exception goes through."""
    try:
        return load_study(path)
    except ConfigError as error:
        return error


def test_three_hundred_accidents_give_a_study_or_a_config_error(tmp_path: Path) -> None:
    study_text = (ROOT / "studies" / "quickstart.yaml").read_bytes()
    space_text = (ROOT / "search_spaces" / "fashion_dit_s_b_xl.yaml").read_bytes()
    study_path, space_path = tmp_path / "studies" / "x.yaml", tmp_path / "search_spaces" / "fashion_dit_s_b_xl.yaml"
    study_path.parent.mkdir()
    space_path.parent.mkdir()
    outcomes: list[Study | ConfigError] = []
    for seed in range(300):
        rng = random.Random(seed)
        in_space = seed % 3 == 0
        study_path.write_bytes(study_text if in_space else mutate(study_text, rng))
        space_path.write_bytes(mutate(space_text, rng) if in_space else space_text)
        outcomes.append(outcome(study_path))
    assert {type(each) for each in outcomes} == {Study, ConfigError}
    assert all(".yaml" in each.message and each.hint for each in outcomes if isinstance(each, ConfigError))
