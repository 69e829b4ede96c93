"""A run without a table: the page says how far it is and claims no front."""

import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tstitch_search.errors import ConfigError
from tstitch_search.ledger import Ledger
from tstitch_search.report.live import LiveReport
from tstitch_search.report.writing import write_report


@pytest.fixture
def going_on(own_run: Path) -> Path:
    """The run as it was before its confirmation: no table, no pictures, a torn last line."""
    shutil.rmtree(own_run / "images")
    (own_run / "lookup.json").unlink()
    ledger = own_run / "ledger.jsonl"
    lines = ledger.read_text().splitlines(keepends=True)
    early = [line for line in lines if '"confirm"' not in line and '"timing"' not in line and '"finished"' not in line]
    ledger.write_text("".join(early) + '{"event": "chu')
    return own_run


def test_what_was_measured_so_far_is_told(going_on: Path) -> None:
    page = write_report(going_on).read_text(encoding="utf-8")
    assert "This study is not finished" in page
    assert f"{datetime.now(UTC):%Y-%m-%d} " in page
    assert "<dt>stage</dt><dd>search</dd>" in page
    assert '<td data-label="images">1,700</td>' in page
    assert '<code>S*14-XL*6</code></td><td data-label="search">100</td><td data-label="confirmation">' in page
    assert "worker died" in page
    assert "front</h2>" not in page
    assert "<script" not in page


def test_a_run_that_has_just_begun_has_a_page(going_on: Path) -> None:
    ledger = going_on / "ledger.jsonl"
    ledger.write_text(ledger.read_text().splitlines(keepends=True)[0])
    assert "<dt>stage</dt><dd>preparation</dd>" in write_report(going_on).read_text(encoding="utf-8")


def test_a_table_that_the_run_has_gone_on_from_is_shown_with_a_warning(own_run: Path) -> None:
    assert "not finished" not in write_report(own_run).read_text(encoding="utf-8")
    ledger = own_run / "ledger.jsonl"
    ledger.write_text("".join(line for line in ledger.read_text().splitlines(True) if '"finished"' not in line))
    assert "This study is not finished" in write_report(own_run).read_text(encoding="utf-8")


def test_a_run_that_was_extended_after_its_end_is_not_finished(own_run: Path) -> None:
    with Ledger(own_run / "ledger.jsonl") as ledger:
        ledger.append("chunk", set="search", allocation="S*20", first=100, last=200, seconds=1.0, worker="worker-0")
    assert "This study is not finished" in write_report(own_run).read_text(encoding="utf-8")


def test_a_run_that_goes_on_keeps_its_page_up_to_date_without_ever_failing_for_it(going_on: Path) -> None:
    page = going_on / "report.html"
    page.unlink(missing_ok=True)
    LiveReport(going_on, every_s=3600).event({"event": "chunk"})
    assert not page.exists()
    LiveReport(going_on, every_s=0).event({"event": "chunk"})
    assert "This study is not finished" in page.read_text(encoding="utf-8")
    LiveReport(going_on / "nowhere", every_s=0).event({"event": "chunk"})


def test_a_finished_run_without_its_table_is_an_error(own_run: Path) -> None:
    (own_run / "lookup.json").unlink()
    with pytest.raises(ConfigError, match=r"lookup\.json is missing although the run is finished"):
        write_report(own_run)
