"""What the terminal shows of a table: all that decides, within 120 columns, and nothing that is not known."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tstitch_search.allocation import Allocation
from tstitch_search.cli import app
from tstitch_search.cli.tables import print_table
from tstitch_search.lookup import LookupEntry, LookupTable, MetricValue, OperatingPoint, PointTime

FRONT = {"S*4-B*4-XL*12": (0.4561, 12.3456), "S*2-XL*18": (0.6123, 11.1234), "XL*20": (0.7215, 11.0123)}
METRICS = ("kid", "inception_score", "precision", "recall", "clip_score")


def entry(text: str, latency_s: float, fid: float) -> LookupEntry:
    return LookupEntry(
        allocation=Allocation.parse(text),
        latency_s=latency_s,
        latency_s_se=0.0031,
        latency_s_predicted=latency_s,
        quality=fid,
        quality_se=0.042,
        n_images=50_000,
        peak_memory_mb=12_345.6,
        quality_difference=fid - 11.0123,
        quality_difference_se=0.021,
        guard_lost=text == "S*4-B*4-XL*12",
        confirmed=True,
        group=1 if text == "S*4-B*4-XL*12" else 2,
        metrics={name: MetricValue(value=0.54321, se=0.0021) for name in METRICS},
        latency_by_point={"single": PointTime(latency_s=latency_s / 8, latency_s_se=0.001, peak_memory_mb=4321.0)},
    )


@pytest.fixture
def table() -> LookupTable:
    entries = tuple(entry(text, *values) for text, values in FRONT.items())
    guard = {"metric": "inception_score", "tolerance": 0.02, "reference": "study"}
    provenance = {"largest": "XL", "largest_latency_s": 0.7215, "headline": "Deploy it.", "guard": guard}
    points = (OperatingPoint("default", "cpu", 16), OperatingPoint("single", "cpu", 1))
    return LookupTable("printed", points, entries, (), provenance)


def plain(table: LookupTable) -> LookupTable:
    """The table without what older ones do not know."""
    unknown = {"peak_memory_mb": None, "group": None, "guard_lost": False, "metrics": {}, "latency_by_point": {}}
    return replace(table, entries=tuple(replace(e, **unknown) for e in table.entries))  # type: ignore[arg-type]


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Callable[[LookupTable], str]:
    def print_and_read(table: LookupTable) -> str:
        print_table(table, Path("lookup.json"), as_json=False)
        return capsys.readouterr().out

    return print_and_read


def test_the_front_shows_memory_groups_and_the_guard_within_120_columns(table, printed) -> None:
    lines = printed(table).splitlines()
    assert max(map(len, lines)) <= 120
    row = next(line for line in lines if "S*4-B*4-XL*12" in line)
    for cell in ("0.4561 ± 0.0031", "1.58x", "12.346 ± 0.042", "+1.333 ± 0.021", "12346", "guard lost"):
        assert cell in row
    assert next(line.split()[-3:] for line in lines if "S*2-XL*18" in line) == ["2", "not", "shown"]


def test_further_metrics_have_a_table_of_their_own(table, printed) -> None:
    said = printed(table)
    assert "Further metrics" in said
    for column in ("KID-50K", "IS-50K", "precision-50K", "recall-50K", "CLIP score-50K"):
        assert column in said
    assert said.count("0.5432 ± 0.0021") == len(FRONT) * len(METRICS)


def test_groups_and_guard_are_told_in_sentences(table, printed) -> None:
    said = " ".join(printed(table).split())
    assert "Tie 2, cannot be told apart at n = 50000: S*2-XL*18, XL*20. Deploy the fastest, S*2-XL*18." in said
    assert "Lose more of the IS than the study tolerates (2 %): S*4-B*4-XL*12." in said
    assert said.endswith("Deploy it. lookup.json")


def test_nothing_is_printed_that_the_table_does_not_know(table, printed) -> None:
    said = printed(plain(table))
    assert "0.4561 ± 0.0031" in said
    assert not [word for word in ("MB", "tie", "guard", "Further", "KID", "None") if word in said]


def test_a_long_allocation_is_folded_and_not_cut(table, printed) -> None:
    text = "-".join(["S*1-B*1"] * 8 + ["XL*4"])
    first = replace(table.entries[0], allocation=Allocation.parse(text))
    lines = printed(replace(table, entries=(first, *table.entries[1:]))).splitlines()
    assert max(map(len, lines[:12])) <= 120
    assert text in "".join(line.split()[0] for line in lines if line.split() and set(line.split()[0]) <= set(text))


@pytest.mark.parametrize(("at", "said"), [((), "12346 MB"), (("--at", "single"), "4321 MB")])
def test_pick_tells_the_memory_at_the_operating_point(table, tmp_path: Path, at: tuple[str, ...], said: str) -> None:
    table.write(tmp_path / "lookup.json")
    picked = CliRunner().invoke(app, ["pick", str(tmp_path / "lookup.json"), "--budget", "0.65s", *at])
    assert picked.exit_code == 0
    assert f", {said}\n  FID " in picked.output


def test_pick_is_silent_about_memory_that_is_not_known(table, tmp_path: Path) -> None:
    plain(table).write(tmp_path / "lookup.json")
    picked = CliRunner().invoke(app, ["pick", str(tmp_path / "lookup.json"), "--budget", "0.65s"])
    assert "MB" not in picked.output
    said = "FID 11.12 ± 0.042 (n = 50000), +0.111 ± 0.021 against XL*20, not shown to be lossless"
    assert picked.output.splitlines()[1].strip() == said
