"""The report page: it tells what the table and ledger say, loads nothing, and lets no text become markup."""

import re
import shutil
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import replace
from gzip import decompress as gunzip
from html.parser import HTMLParser
from pathlib import Path

import plotly.graph_objects as go
import pytest
from plotly.offline import get_plotlyjs

from tstitch_search.errors import ConfigError, EnvironmentProblem
from tstitch_search.ledger import Ledger
from tstitch_search.lookup import LookupTable, MetricValue
from tstitch_search.report.plots.labels import kept_apart
from tstitch_search.report.reading import read_record
from tstitch_search.report.sections.overview import provenance
from tstitch_search.report.sections.story import headline
from tstitch_search.report.wording import latency_text, quality_text, segments_text
from tstitch_search.report.writing import write_report

VOID = {"meta", "img", "br", "link", "hr", "input"}
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)> & \" '"


class Page(HTMLParser):
    """The elements, attributes and visible text of a page; fails on a tag that is not closed in order."""

    def __init__(self, html: str):
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.styles = ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((name, dict(attributes)))
        if name not in VOID:
            self.open.append(name)

    def handle_endtag(self, name: str) -> None:
        assert self.open.pop() == name

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "style":
            self.styles += data
        elif self.open and self.open[-1] != "script":
            self.text += data

    def count(self, name: str) -> int:
        return sum(element == name for element, _ in self.elements)

    def loads(self) -> Iterator[str]:
        """Every address that the page would load or run."""
        for _, attributes in self.elements:
            for key in ("src", "href", "srcset", "data", "action", "poster"):
                if key in attributes:
                    yield attributes[key] or ""
        yield from re.findall(r"@import|url\([^)]*\)", self.styles)


@pytest.fixture(scope="module")
def page(run_folder) -> Page:
    return Page(write_report(run_folder.path).read_text(encoding="utf-8"))


def test_every_entry_is_told_with_time_fid_and_steps(page: Page, run_folder) -> None:
    said = {attributes.get("aria-label") for _, attributes in page.elements}
    for entry in run_folder.entries:
        assert str(entry.allocation) in page.text
        assert latency_text(entry) in page.text
        assert quality_text(entry) in page.text
        assert segments_text(entry.allocation) in said
    assert len(run_folder.entries) == 7


def test_lossless_is_said_only_where_it_was_shown(page: Page, run_folder) -> None:
    shown = [e for e in run_folder.entries if e.lossless and str(e.allocation) != "XL*20"]
    assert [str(e.allocation) for e in shown] == ["S*4-XL*16"]
    verdicts = [a for name, a in page.elements if name == "span" and a.get("class") == "yes"]
    assert len(verdicts) == 2  # in the table and on its card
    assert page.text.count("not shown") == 2 * 3


def test_nothing_is_loaded_from_elsewhere(page: Page) -> None:
    addresses = list(page.loads())
    assert addresses
    assert all(address.startswith("data:image/webp;base64,") for address in addresses)
    policies = [a["content"] for name, a in page.elements if name == "meta" and "http-equiv" in a]
    assert policies
    assert str(policies[0]).startswith("default-src 'none';")


def test_plotly_is_in_the_page_once_packed_and_behind_all_that_can_be_read_without_it(run_folder) -> None:
    html = write_report(run_folder.path).read_text(encoding="utf-8")
    ((start, packed),) = [(m.start(), m[1]) for m in re.finditer(r'id="plotly">([^<]*)<', html)]
    assert gunzip(b64decode(packed)).decode() == get_plotlyjs()
    assert "plotly.js v" not in html
    assert start > html.index("</main>")
    assert len(html) < 2.5e6


def test_strips_that_exist_are_shown_and_a_missing_one_costs_only_its_row(page: Page, run_folder) -> None:
    assert page.count("img") == len(run_folder.entries) - 1


def test_without_strips_there_is_no_sample_section(own_run: Path) -> None:
    shutil.rmtree(own_run / "images")
    html = Page(write_report(own_run).read_text(encoding="utf-8"))
    assert html.count("img") == 0
    assert "Samples" not in html.text


def test_provenance_names_its_facts_in_words(run_folder) -> None:
    sample = LookupTable.read(Path(__file__).parents[2] / "reports" / "small-first-sample" / "lookup.json")
    text = Page(str(provenance(replace(read_record(run_folder.path), table=sample)))).text
    assert "images of an allocation, while searching, at most300" in text
    assert not re.search(r"n images (search|confirm)|largest latency s|space size", text)


def test_hostile_text_stays_text(page: Page, own_run: Path) -> None:
    table = LookupTable.read(own_run / "lookup.json")
    facts = {**table.provenance, "solver": HOSTILE, "largest": HOSTILE, HOSTILE: HOSTILE, "headline": HOSTILE}
    facts |= {"guard": {"metric": HOSTILE}, "recorded": HOSTILE}
    points = tuple(replace(point, id=HOSTILE, device=HOSTILE) for point in table.operating_points[:2])
    time = table.entries[0].latency_by_point["single"]
    first = replace(table.entries[0], metrics={HOSTILE: MetricValue(value=1)}, latency_by_point={HOSTILE: time})
    entries = (first, *table.entries[1:])
    hostile = replace(table, study=HOSTILE, provenance=facts, operating_points=points, entries=entries)
    hostile.write(own_run / "lookup.json")
    with Ledger(own_run / "ledger.jsonl") as ledger:
        told = {"set": HOSTILE, "allocation": HOSTILE, "first": 0, "last": 9, "error": HOSTILE, "worker": HOSTILE}
        ledger.append("failed", **told)
    attacked = Page(write_report(own_run).read_text(encoding="utf-8"))
    assert attacked.text.count(HOSTILE) >= 16
    assert attacked.count("script") == page.count("script")
    assert attacked.count("img") == page.count("img")
    assert not any("onerror" in attributes for _, attributes in attacked.elements)


def test_an_allocation_in_the_ledger_that_is_none_is_refused(own_run: Path) -> None:
    with Ledger(own_run / "ledger.jsonl") as ledger:
        ledger.append(
            "trial", number=1, allocation="<b>", state="COMPLETE", latency_s=1, quality=1, quality_se=1, n_images=9
        )
    with pytest.raises(ConfigError, match=r"ledger\.jsonl: '<b>' is not an allocation"):
        write_report(own_run)


def test_an_event_without_a_field_names_the_ledger_and_the_field(own_run: Path) -> None:
    with Ledger(own_run / "ledger.jsonl") as ledger:
        ledger.append("trial", number=1, allocation="S*20", state="COMPLETE")
    with pytest.raises(ConfigError, match=r"ledger\.jsonl: latency_s: expected this field"):
        write_report(own_run)


@pytest.mark.parametrize("name", ["lookup.json", "ledger.jsonl"])
def test_a_missing_file_is_named_and_no_report_is_left(own_run: Path, name: str) -> None:
    (own_run / "report.html").unlink(missing_ok=True)
    (own_run / name).unlink()
    with pytest.raises(ConfigError, match=re.escape(name)):
        write_report(own_run)
    assert not (own_run / "report.html").exists()


def test_a_damaged_ledger_is_an_error(own_run: Path) -> None:
    path = own_run / "ledger.jsonl"
    path.write_text("{}\n" + path.read_text())
    with pytest.raises(EnvironmentProblem, match="line 1 is damaged"):
        write_report(own_run)


def test_a_failed_trial_has_no_point_but_its_failure_is_told(page: Page, run_folder) -> None:
    assert "B*2-XL*18" not in [str(trial.allocation) for trial in read_record(run_folder.path).trials]
    assert "worker died" in page.text


def test_failures_for_one_reason_are_counted(own_run: Path) -> None:
    with Ledger(own_run / "ledger.jsonl") as ledger:
        for error in ("worker died", "no memory"):
            told = {"set": "search", "allocation": "B*2-XL*18", "first": 50, "last": 100, "worker": "worker-0"}
            ledger.append("failed", **told, error=error)
    failures = read_record(own_run).failures
    assert [(f.error, f.n_attempts) for f in failures] == [("worker died", 2), ("no memory", 1)]


def test_what_was_damaged_and_set_aside_is_told(own_run: Path) -> None:
    with Ledger(own_run / "ledger.jsonl") as ledger:
        ledger.append("damaged", lines=[3], file="ledger.jsonl.damaged")
        ledger.append("damaged", file="features/a.npz", set_aside="a.npz.damaged")
    write_report(own_run)
    text = (own_run / "report.html").read_text()
    assert "<code>ledger.jsonl.damaged</code> <code>a.npz.damaged</code>" in text


def test_without_scripts_a_picture_shows_every_entry(run_folder) -> None:
    (picture,) = re.findall(r"<noscript>(.*?)</noscript>", write_report(run_folder.path).read_text(), re.S)
    assert picture.count("<circle") == len(run_folder.entries)
    assert all(f">{entry.allocation}</text>" in picture for entry in run_folder.entries)


def test_names_of_marks_at_one_place_do_not_hide_each_other() -> None:
    def mark(x: float, y: float, text: str) -> go.Scatter:
        return go.Scatter(x=[x], y=[y], text=[text], textposition="top right")

    far = kept_apart([mark(1, 1, "XL"), mark(5, 0, "S")])
    assert [m.textposition for m in far] == ["top right", "top right"]
    near = kept_apart([mark(1, 1, "XL-free"), mark(1.02, 1, "40 % rule"), mark(5, 0, "S")])
    assert near[0].textposition != near[1].textposition


def test_a_worker_started_again_is_told_once(own_run: Path) -> None:
    with Ledger(own_run / "ledger.jsonl") as ledger:
        ledger.append("loaded", worker="worker-0", device="cpu", load_s={"S": 9.9})
    assert [(w.worker, w.load_s["S"]) for w in read_record(own_run).workers] == [("worker-0", 9.9), ("worker-1", 0.2)]


def test_costs_add_up_the_ledger(run_folder) -> None:
    search, confirm, timing = read_record(run_folder.path).costs
    assert (search.n_images, search.n_allocations) == (1700, 17)
    assert (confirm.n_images, confirm.n_allocations) == (4000, 8)
    assert timing.seconds == pytest.approx(8 * 0.61)


def test_a_table_without_a_headline_is_introduced_by_its_number_of_entries(run_folder) -> None:
    record = read_record(run_folder.path)
    silent = replace(record, table=replace(record.table, provenance={}))
    assert headline(silent) == f"{len(record.table.entries)} allocations are on the confirmed front."


def test_a_table_alone_with_an_empty_ledger_still_makes_a_page(own_run: Path) -> None:
    table = LookupTable.read(own_run / "lookup.json")
    replace(table, entries=table.entries[:1], candidates=(), provenance={}).write(own_run / "lookup.json")
    (own_run / "ledger.jsonl").write_text('{"event": "opened"}\n')
    assert "S*20" in Page(write_report(own_run).read_text(encoding="utf-8")).text
