"""Whatever happens to a study, space or lookup file, reading it gives an object or a `ConfigError`, and soon."""

import random
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from tstitch_search.config import Study, load_study
from tstitch_search.errors import ConfigError
from tstitch_search.lookup import LookupTable

ROOT = Path(__file__).parents[2]
HANGS_AFTER_S = 10
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


def outcome(load: Callable[[Path], object], path: Path) -> object:
    """What loading comes to; any exception but ConfigError goes through, and so does what hangs."""
    signal.setitimer(signal.ITIMER_REAL, HANGS_AFTER_S)
    try:
        return load(path)
    except ConfigError as error:
        return error
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


@pytest.fixture(autouse=True)
def hang_guard() -> Iterator[None]:
    """Loading that takes longer than ten seconds is an error."""

    def hangs(number: int, frame: object) -> NoReturn:
        raise TimeoutError(f"still loading after {HANGS_AFTER_S} s")

    before = signal.signal(signal.SIGALRM, hangs)
    yield
    signal.signal(signal.SIGALRM, before)


STUDY, SPACE = ROOT / "studies" / "small_first.yaml", ROOT / "search_spaces" / "fashion_dit_s_b_xl.yaml"
LOOKUP = ROOT / "tests" / "golden" / "lookup_v1.json"


@pytest.mark.parametrize(
    ("mutated", "load", "n", "kind"),
    [
        (STUDY, load_study, 700, Study),
        (SPACE, load_study, 600, Study),
        (LOOKUP, lambda path: LookupTable.read(path.parent.parent / "lookup.json"), 700, LookupTable),
    ],
    ids=["study", "space", "lookup"],
)
def test_accidents_give_an_object_or_a_config_error(
    tmp_path: Path, mutated: Path, load: Callable[[Path], object], n: int, kind: type
) -> None:
    """Two thousand in all."""
    places = {
        STUDY: tmp_path / "studies" / "x.yaml",
        SPACE: tmp_path / "search_spaces" / SPACE.name,
        LOOKUP: tmp_path / "lookup.json",
    }
    for source, place in places.items():
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(source.read_bytes())
    outcomes = []
    for seed in range(n):
        places[mutated].write_bytes(mutate(mutated.read_bytes(), random.Random(seed)))
        outcomes.append(outcome(load, places[STUDY]))
    assert {type(each) for each in outcomes} == {kind, ConfigError}
    refused = [each for each in outcomes if isinstance(each, ConfigError)]
    assert all(places[mutated].suffix in each.message and each.hint for each in refused)
