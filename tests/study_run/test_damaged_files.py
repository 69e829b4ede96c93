"""A run goes on in a folder with damaged files: it sets them aside, says so, and measures again what they held."""

import shutil
from pathlib import Path

import pytest
from study_run.synthetic import SyntheticMeasurer

from tstitch_search.allocation import Allocation
from tstitch_search.config import load_study
from tstitch_search.errors import EnvironmentProblem
from tstitch_search.ledger import read_events
from tstitch_search.measurement import Chunk, MakeChunk
from tstitch_search.progress import Silent
from tstitch_search.study_run import Result, run_study
from tstitch_search.tasks.stored import StoredRun
from tstitch_search.workers.inline import InlinePool


class Notes(Silent):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture
def folder(plain, tmp_path: Path) -> Path:
    """A copy of a finished run to damage."""
    return Path(shutil.copytree(plain.outcome.folder, tmp_path / "run"))


def go_on(study: Path, folder: Path, measurer: SyntheticMeasurer) -> tuple[Result, list[str]]:
    notes = Notes()
    return run_study(load_study(study), folder, lambda _: InlinePool(lambda: measurer), notes), notes.said


def events(folder: Path, kind: str) -> list[dict]:
    return [event for event in read_events(folder / "ledger.jsonl") if event["event"] == kind]


@pytest.mark.parametrize("damage", [lambda whole: whole[: len(whole) // 2], lambda _: b"", lambda whole: whole + b"\0"])
def test_a_damaged_feature_file_is_made_again(plain, folder, measurer, tiny_family, damage):
    chunk = next(event for event in events(folder, "chunk") if event["set"] == "confirm")
    path = folder / "features" / chunk["file"]
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    measurer.made.clear()
    again, said = go_on(tiny_family / "study.yaml", folder, measurer)
    assert again.n_new == 1
    (job,) = (job for job in measurer.made if isinstance(job, MakeChunk))
    assert (str(job.allocation), job.chunk.first) == (chunk["allocation"], chunk["first"])
    assert path.read_bytes() == whole
    assert path.with_name(path.name + ".damaged").read_bytes() == damage(whole)
    assert [event["file"] for event in events(folder, "damaged")] == [chunk["file"]]
    assert any(f"{chunk['file']} is damaged and set aside as" in text and "made again" in text for text in said)
    assert again.table.entries == plain.outcome.table.entries
    assert go_on(tiny_family / "study.yaml", folder, measurer)[0].n_new == 0


def test_who_only_reads_damaged_features_says_what_to_do(folder):
    chunk = next(event for event in events(folder, "chunk") if event["set"] == "confirm")
    path = folder / "features" / chunk["file"]
    path.write_bytes(path.read_bytes()[:-1])
    stored = StoredRun.open(folder)
    with pytest.raises(EnvironmentProblem, match="is not what the ledger recorded") as refused:
        stored.read(Allocation.parse(chunk["allocation"]), [Chunk("confirm", chunk["first"], chunk["last"])])
    assert "run the study again" in refused.value.hint


MEASURED = ["chunk", "calibration", "timing"]
CONCLUDED = ["trial", "loaded", "finished"]


@pytest.mark.parametrize("kind", [*MEASURED, *CONCLUDED])
def test_a_damaged_line_of_the_ledger_is_measured_again(plain, folder, measurer, tiny_family, kind):
    ledger = folder / "ledger.jsonl"
    lines = ledger.read_bytes().splitlines(keepends=True)
    number = next(i for i, event in enumerate(read_events(ledger), start=1) if event["event"] == kind)
    lines[number - 1] = b"\0" * 30 + b"\n"
    ledger.write_bytes(b"".join(lines))
    measurer.made.clear()
    again, said = go_on(tiny_family / "study.yaml", folder, measurer)
    assert again.n_new == (kind in MEASURED)
    assert again.table.entries == plain.outcome.table.entries
    assert (folder / "ledger.jsonl.damaged").read_bytes() == lines[number - 1]
    assert events(folder, "damaged")[0]["lines"] == [number]
    assert any(f"the first was line {number}; what they said is lost, and measured again" in text for text in said)
