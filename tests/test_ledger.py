"""The ledger: whatever a crash leaves of it opens again, and what it says is on disk is on disk."""

import json
import re
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tstitch_search.errors import EnvironmentProblem
from tstitch_search.ledger import Ledger, read_events

EVENTS = [
    {"event": "opened", "study": "fashion"},
    {"event": "chunk", "allocation": "S*8-XL*12", "first": 0, "last": 50, "seconds": 1.5},
    {"event": "note", "text": "größer, with a \n newline and a \" quote"},
]  # fmt: skip
CONTENT = b"".join(json.dumps(event).encode() + b"\n" for event in EVENTS)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
fields = st.dictionaries(st.sampled_from(["study", "seconds", "files", "größe"]), json_values)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.jsonl"


@contextmanager
def disk_full_beyond(n_bytes: int) -> Iterator[None]:
    """A real limit on the size of any file this process writes, as a full disk or a quota sets one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_any_prefix_opens_loses_at_most_the_last_line_and_can_be_appended_to(path):
    for length in range(len(CONTENT) + 1):
        path.write_bytes(CONTENT[:length])
        whole = EVENTS[: CONTENT[:length].count(b"\n")]
        assert list(read_events(path)) == whole, length  # a reader beside the writer
        with Ledger(path) as ledger:
            assert list(ledger.events) == whole, length
            ledger.append("resumed")
        *kept, added = read_events(path)
        assert (kept, added["event"]) == (whole, "resumed"), length


@settings(max_examples=50)
@given(st.lists(fields, max_size=4))
def test_what_was_appended_is_what_a_reader_sees(tmp_path_factory, appended):
    path = tmp_path_factory.mktemp("ledger") / "ledger.jsonl"
    with Ledger(path) as ledger:
        lines = [ledger.append("thing", **some) for some in appended]
        assert list(ledger.events) == lines == list(read_events(path))
    assert [{k: v for k, v in line.items() if k not in ("event", "at")} for line in lines] == appended


def test_memory_holds_what_the_disk_holds_also_for_values_that_json_changes(path):
    with Ledger(path) as ledger:
        assert ledger.append("timing", seconds=(1.0, 2.0))["seconds"] == [1.0, 2.0]
        assert list(ledger.events) == list(read_events(path))


def test_every_line_says_when_it_was_written(path):
    with Ledger(path) as ledger:
        at = datetime.fromisoformat(ledger.append("opened")["at"])
    offset = at.utcoffset()
    assert offset is not None
    assert not offset


@pytest.mark.parametrize(
    "damage", [b"", b"{", b"null", b"[1]", b'"event"', b'{"seconds": 1}', b"\xff\xfe", b"\0\0"], ids=repr
)
@pytest.mark.parametrize("number", [2, 3, 4])
def test_a_damaged_line_is_moved_aside_and_that_is_recorded(path, damage, number):
    lines = CONTENT.splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[: number - 1], damage + b"\n", *lines[number - 1 :]]))
    with pytest.raises(EnvironmentProblem, match=f"line {number} is damaged: expected a JSON object") as caught:
        list(read_events(path))  # a reader changes nothing
    assert "run the study again" in caught.value.hint
    with Ledger(path) as ledger:
        assert ledger.damaged == (number,)
        *kept, recorded = ledger.events
        with pytest.raises(EnvironmentProblem, match="another process is writing"):
            Ledger(path)  # the file that took the old one's place is locked as well
        ledger.append("resumed")
    assert kept == EVENTS
    assert (recorded["event"], recorded["lines"]) == ("damaged", [number])
    assert path.with_name(recorded["file"]).read_bytes() == damage + b"\n"
    with Ledger(path) as again:
        assert again.damaged == ()
        assert [event["event"] for event in again.events][-2:] == ["damaged", "resumed"]


def test_a_ledger_that_does_not_say_whose_it_is_stays_as_it_is(path):
    content = b"\0" * 20 + b"\n" + CONTENT
    path.write_bytes(content)
    for _ in range(2):  # the refusal leaves nothing locked
        with pytest.raises(EnvironmentProblem, match="line 1 is damaged: it said which study"):
            Ledger(path)
    assert path.read_bytes() == content
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_full_disk_while_damage_is_moved_aside_leaves_the_ledger_as_it_was(path):
    content = CONTENT + b"x" * 5000 + b"\n" + CONTENT
    path.write_bytes(content)
    with disk_full_beyond(100), pytest.raises(EnvironmentProblem, match=r"cannot write .*all earlier lines are safe"):
        Ledger(path)
    assert path.read_bytes() == content
    with Ledger(path) as ledger:
        assert ledger.damaged == (4,)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), {"fid": [float("nan")]}])
def test_nan_cannot_be_written_and_leaves_no_trace(path, bad):
    with Ledger(path) as ledger:
        ledger.append("opened")
        before = path.read_bytes()
        with pytest.raises(ValueError, match="JSON compliant"):
            ledger.append("trial", fid=bad)
        assert path.read_bytes() == before
        assert ledger.of("trial") == []


def test_second_writer_is_refused_and_harms_nothing(path):
    with Ledger(path) as ledger:
        ledger.append("opened")
        with pytest.raises(EnvironmentProblem, match=re.escape(f"another process is writing {path}")) as caught:
            Ledger(path)
        assert "--output" in caught.value.hint
        ledger.append("chunk")
    assert [e["event"] for e in read_events(path)] == ["opened", "chunk"]
    with Ledger(path) as later:
        later.append("finished")


def test_killed_writer_leaves_every_line_it_returned_and_no_lock(path):
    script = (
        "import os, signal, sys; from pathlib import Path; from tstitch_search.ledger import Ledger\n"
        "ledger = Ledger(Path(sys.argv[1])); [ledger.append('chunk', number=i) for i in range(5)]\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", script, str(path)], check=False).returncode == -9
    with Ledger(path) as ledger:
        assert [e["number"] for e in ledger.of("chunk")] == [0, 1, 2, 3, 4]


def test_full_disk_is_an_error_for_people_and_keeps_the_earlier_lines(path):
    with Ledger(path) as ledger:
        first = ledger.append("opened")
        with disk_full_beyond(path.stat().st_size + 20):
            with pytest.raises(EnvironmentProblem, match="all earlier lines are safe") as caught:
                ledger.append("chunk", file="x" * 100)
            assert "run the same command again" in caught.value.hint
            assert list(read_events(path)) == ledger.of("opened") == [first]
        second = ledger.append("chunk", file="x")
        assert list(read_events(path)) == [first, second]
    assert path.read_bytes().endswith(b"}\n")


def test_closing_after_a_full_disk_raises_nothing_of_its_own(path):
    ledger = Ledger(path)
    with disk_full_beyond(10):
        with pytest.raises(EnvironmentProblem, match="all earlier lines are safe"), ledger:
            ledger.append("opened")
        assert path.read_bytes() == b""


@pytest.mark.parametrize("make", [Path.mkdir, lambda path: path.symlink_to(path)], ids=["folder", "link to itself"])
def test_path_that_cannot_be_written_is_an_error_with_a_hint(path, make):
    make(path)
    with pytest.raises(EnvironmentProblem, match=re.escape(f"cannot write {path}")) as caught:
        Ledger(path)
    assert "--output" in caught.value.hint


def test_of_gives_all_events_of_a_kind_and_last_the_newest(path):
    with Ledger(path) as ledger:
        for number, event in enumerate(["opened", "chunk", "trial", "chunk"]):
            ledger.append(event, number=number)
        assert [e["number"] for e in ledger.of("chunk")] == [1, 3]
        newest = ledger.last("chunk")
        assert newest is not None
        assert newest["number"] == 3
        assert ledger.of("finished") == []
        assert ledger.last("finished") is None


def test_lines_that_come_fast_share_an_fsync_and_the_next_decision_brings_all_to_the_disk(path):
    with Ledger(path) as ledger:
        ledger.append("opened")
        for number in range(3):
            ledger.add("chunk", number=number)
            assert len(list(read_events(path))) == number + 2  # written at once, so that a kill loses none
        assert not ledger.is_synced
        ledger.append("trial")
        assert ledger.is_synced
    assert [e["event"] for e in read_events(path)] == ["opened", *["chunk"] * 3, "trial"]


def test_killed_writer_leaves_also_the_lines_that_were_not_synced(path):
    script = (
        "import os, signal, sys; from pathlib import Path; from tstitch_search.ledger import Ledger\n"
        "ledger = Ledger(Path(sys.argv[1])); [ledger.add('chunk', number=i) for i in range(5)]\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", script, str(path)], check=False).returncode == -9
    with Ledger(path) as ledger:
        assert [e["number"] for e in ledger.of("chunk")] == [0, 1, 2, 3, 4]
