"""The slider: every place of it answers as the table does, and every entry can be reached."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from tstitch_search.errors import QualityGateError
from tstitch_search.lookup import LookupTable
from tstitch_search.report.reading import read_record
from tstitch_search.report.record import Record
from tstitch_search.report.sections.picker import Place, picker, sliders


@pytest.fixture(scope="module")
def record(run_folder) -> Record:
    return read_record(run_folder.path)


def asked(table: LookupTable, place: Place) -> str | None:
    """What the table answers to the call that the place says it stands for."""
    call = re.fullmatch(r"LookupTable\.read\('lookup\.json'\)\.(pick\(.*\))", place.call)
    assert call
    try:
        return str(eval(f"table.{call[1]}", {"table": table}).allocation)
    except QualityGateError:
        return None


def test_every_place_answers_as_its_call_does(record: Record) -> None:
    offered = sliders(record)
    assert [s.name for s in offered] == [
        "seconds at default",
        "seconds at single",
        "seconds at gpu",
        "FID loss against XL",
    ]
    for slider in offered:
        assert [p.allocation for p in slider.places] == [asked(record.table, p) for p in slider.places]


def test_every_entry_can_be_reached_by_either_limit(record: Record) -> None:
    by_time, *_, by_loss = sliders(record)
    entries = {str(e.allocation) for e in record.table.entries}
    assert {p.allocation for p in by_time.places} - {None} == entries
    assert {p.allocation for p in by_loss.places} - {None} == entries


def test_entries_that_are_equally_fast_to_four_digits_can_all_be_reached(record: Record) -> None:
    close = tuple(replace(e, latency_s=0.5 + 1e-7 * i) for i, e in enumerate(record.table.entries))
    places = sliders(replace(record, table=replace(record.table, entries=close)))[0].places
    assert {p.allocation for p in places} - {None} == {str(e.allocation) for e in close}


def test_times_of_zero_have_no_slider(record: Record) -> None:
    instant = (replace(record.table.entries[0], latency_s=0.0, latency_by_point={}),)
    table = replace(record.table, entries=instant, candidates=(), provenance={})
    assert picker(replace(record, table=table)) == ""


def test_a_budget_that_nothing_keeps_is_refused_with_what_is_possible(record: Record) -> None:
    tightest = sliders(record)[0].places[0]
    assert tightest.allocation is None
    assert "the fastest is S*20" in tightest.refusal
    assert "try a budget of at least" in tightest.refusal


def test_the_slider_starts_at_the_fastest_lossless_entry(record: Record) -> None:
    assert 'data-allocation="S*4-XL*16">' in picker(record)
    assert picker(record).count(" hidden=") == len(record.confirmed) - 1


def test_without_anything_lossless_it_starts_where_the_front_bends(record: Record) -> None:
    entries = tuple(replace(e, lossless=False) for e in record.table.entries)
    shown = picker(replace(record, table=replace(record.table, entries=entries)))
    (first,) = re.findall(r'class="card" data-allocation="([^"]*)">', shown)
    assert first not in ("S*20", "XL*20")


def test_a_table_of_one_entry_without_facts_has_a_slider(own_run: Path) -> None:
    record = read_record(own_run)
    alone = replace(record.table, entries=record.table.entries[:1], candidates=(), provenance={})
    assert sliders(replace(record, table=alone))[0].name == "seconds at default"
