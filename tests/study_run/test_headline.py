"""The sentence a person acts on claims no more than was shown."""

from dataclasses import replace

import pytest

from tstitch_search.allocation import Allocation
from tstitch_search.lookup import LookupEntry, LookupTable, OperatingPoint
from tstitch_search.report.headline import headline
from tstitch_search.report.notes import speed_up_error


def entry(text: str, latency_s: float, fid: float, lossless: bool) -> LookupEntry:
    return LookupEntry(
        allocation=Allocation.parse(text),
        latency_s=latency_s,
        latency_s_se=0.01,
        latency_s_predicted=latency_s,
        quality=fid,
        quality_se=0.1,
        n_images=500,
        peak_memory_mb=None,
        quality_difference=fid - 10,
        quality_difference_se=0.05,
        lossless=lossless,
    )


@pytest.fixture
def table() -> LookupTable:
    entries = (
        entry("S*20", 1.0, 30.0, lossless=False),
        entry("S*8-XL*12", 4.0, 10.1, lossless=True),
        entry("S*4-XL*16", 6.0, 10.05, lossless=True),
        entry("XL*20", 8.0, 10.0, lossless=True),
    )
    provenance = {"largest": "XL", "lossless_margin": 0.02, "largest_latency_s": 8.0}
    return LookupTable("s", (OperatingPoint("default", "cpu", 8),), entries, (), provenance)


def test_the_fastest_lossless_entry_is_the_one_to_deploy(table):
    said = headline(table)
    assert said == (
        "2.0x faster at no loss: S*8-XL*12 (a loss of more than 2% of FID is ruled out, one-sided 95 %, 500 images)."
    )


def test_a_speed_up_of_rough_times_is_called_about_so_much(table):
    rough = tuple(replace(e, latency_s_se=0.1 * e.latency_s) for e in table.entries)
    assert headline(replace(table, entries=rough)).startswith("about 2.0x faster at no loss: S*8-XL*12 ")
    known = tuple(replace(e, latency_s_se=0.05 * e.latency_s) for e in table.entries)
    assert headline(replace(table, entries=known)).startswith("2.0x faster")


def test_the_error_of_a_speed_up_is_that_of_both_times(table):
    entry = replace(table.entries[1], latency_s_se=0.12)
    told = replace(table, entries=(entry, replace(table.entries[-1], latency_s_se=0.32)))
    assert speed_up_error(told, entry) == pytest.approx((0.03**2 + 0.04**2) ** 0.5)
    assert speed_up_error(told, told.entries[-1]) == 0


def test_what_was_not_shown_is_not_called_lossless(table):
    unsure = tuple(replace(e, lossless=e.allocation.steps.keys() == {"XL"}) for e in table.entries)
    said = headline(replace(table, entries=unsure))
    assert said == (
        "2.0x faster: S*8-XL*12, FID 10 to 10.1 (+1%). 1.3x: S*4-XL*16, FID 10 to 10.1 (+1%). "
        "None is shown to be lossless (margin 2%, 500 images). About 50 more images (88 s) could show it of "
        "S*4-XL*16."
    )


def test_a_front_of_the_largest_alone_says_to_deploy_it(table):
    assert headline(replace(table, entries=table.entries[-1:])).endswith("deploy XL.")


def test_what_is_slower_than_the_largest_is_not_recommended(table):
    slower = replace(table.entries[1], latency_s=8.5, quality=9.9)
    said = headline(replace(table, entries=(*table.entries[-1:], slower)))
    assert said.endswith("deploy XL.")


def test_what_loses_the_guard_is_neither_recommended_nor_the_bend(table):
    lost = tuple(replace(e, guard_lost=e.allocation.steps.keys() != {"XL"}) for e in table.entries)
    assert headline(replace(table, entries=lost)).endswith("loses the guard metric; deploy XL.")
    one = tuple(replace(e, guard_lost=str(e.allocation) == "S*8-XL*12") for e in table.entries)
    assert "S*8-XL*12" not in headline(replace(table, entries=one))
