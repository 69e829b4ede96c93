"""What the table knows beyond time and objective is on the page, and nothing is made up where it does not know."""

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import pytest

from tstitch_search.ledger import Ledger
from tstitch_search.lookup import Candidate, LookupEntry, LookupTable, Objective
from tstitch_search.report.markup import Html
from tstitch_search.report.notes import alike, front_notes, further_metrics, speed_up_error
from tstitch_search.report.page import page
from tstitch_search.report.reading import read_record
from tstitch_search.report.record import Record
from tstitch_search.report.sections.front import front
from tstitch_search.report.sections.limits import limits
from tstitch_search.report.sections.overview import pareto_section
from tstitch_search.report.sections.story import fastest_lossless, tiles
from tstitch_search.report.sections.times import error_sentence, prediction_error, times
from tstitch_search.report.wording import quality_text
from tstitch_search.report.writing import write_report

NEWER = {"extra_weights_mb": None, "guard_lost": False, "confirmed": False, "group": None}
NEWER |= {"metrics": {}, "latency_by_point": {}}


def older(candidate: Candidate) -> Candidate:
    """What an older version would have written of the candidate."""
    return replace(candidate, **NEWER, peak_memory_mb=None)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def record(run_folder) -> Record:
    return read_record(run_folder.path)


@pytest.fixture
def without(record: Record) -> Record:
    """The record of a table that an older version wrote."""
    entries: list[LookupEntry] = [replace(e, **NEWER, peak_memory_mb=None) for e in record.table.entries]  # type: ignore[arg-type]
    table = replace(
        record.table,
        entries=tuple(entries),
        candidates=tuple(older(c) for c in record.table.candidates),
        provenance={"largest": "XL"},
        operating_points=record.table.operating_points[:1],
    )
    return replace(record, table=table)


@pytest.fixture
def entry_named(record: Record) -> Callable[[str], LookupEntry]:
    return lambda text: next(e for e in record.table.entries if str(e.allocation) == text)


def test_memory_and_weights_of_every_entry_are_told(record: Record) -> None:
    page = front(record)
    assert "peak memory\nagainst XL" in page
    assert "840 MB" in page
    assert "850 MB" in page
    assert "+1.7 MB weights" in page  # S beside XL
    assert "-126 MB weights" in page  # S without XL


def test_further_metrics_are_columns_with_their_error_and_difference(record: Record, entry_named) -> None:
    assert further_metrics(record.table) == {"kid": "KID", "guard": "IS"}
    page = front(record)
    assert "KID-500 (SE)" in page
    assert "IS-500 (SE)" in page
    value = entry_named("S*14-XL*6").metrics["guard"]
    assert f"{value.value:.3f} ± 0.050" in page
    assert f"{value.difference:+.3f} ± 0.030" in page


def test_a_guard_that_is_a_metric_anyway_is_one_column(record: Record) -> None:
    both = tuple(replace(e, metrics={"inception_score": e.metrics["guard"], **e.metrics}) for e in record.table.entries)
    assert further_metrics(replace(record.table, entries=both)) == {"inception_score": "IS", "kid": "KID"}
    assert front(replace(record, table=replace(record.table, entries=both))).count('<div class="lost">') == 2


def test_a_guard_against_the_largest_is_a_column_of_its_own(record: Record) -> None:
    both = tuple(replace(e, metrics={"fid": e.metrics["kid"], **e.metrics}) for e in record.table.entries)
    guard = {"guard": {"metric": "fid", "tolerance": 0.02, "reference": "anchor"}}
    table = replace(record.table, entries=both, provenance={**record.table.provenance, **guard})
    assert further_metrics(table)["guard"] == "FID to images of XL"


def test_a_lost_guard_is_flagged_in_its_row_and_by_name(record: Record) -> None:
    assert [str(e.allocation) for e in record.table.entries if e.guard_lost] == ["S*20", "B*20"]
    assert front(record).count("loses IS") == front(record).count('<div class="lost">') == 3  # one is off the front
    assert "Lose more of the IS than the study tolerates (5 %): S*20, B*20, XL*4-B*16." in front_notes(record.table)


def test_a_tie_is_marked_in_its_rows_and_told_in_a_sentence(record: Record) -> None:
    assert {number: len(entries) for number, entries in alike(record.table).items()} == {2: 2, 4: 3}
    page = front(record)
    assert [page.count(f"≈ tie {number}") for number in (1, 2, 3, 4)] == [0, 2, 0, 3]
    assert [page.count(f'class="tie {place}"') for place in ("first", "inner", "last")] == [2, 1, 2]
    notes = " ".join(front_notes(record.table))
    assert (
        "Tie 4, cannot be told apart at n = 500: S*8-XL*12, S*4-XL*16, XL*20. Deploy the fastest, S*8-XL*12." in notes
    )


def test_nobody_is_told_to_deploy_what_loses_the_guard(record: Record) -> None:
    notes = " ".join(front_notes(record.table))
    assert "Deploy the fastest that keeps the IS, S*14-XL*6." in notes  # B*20 of the same group loses it
    lost = tuple(replace(e, guard_lost=True) for e in record.table.entries)
    assert "Deploy" not in " ".join(front_notes(replace(record.table, entries=lost)))


def test_what_was_confirmed_and_beaten_is_listed_with_its_better(record: Record) -> None:
    assert [str(c.allocation) for c in record.beaten] == ["XL*4-B*16"]
    assert "Confirmed, but not on the front" in front(record)
    assert "beaten by S*12-XL*8" in front(record)


def test_the_prediction_error_of_cached_members_is_told_apart(record: Record) -> None:
    assert "with a cached member" not in error_sentence(record)
    cached = replace(record, calibration=replace(record.calibration, places={"S": [1.0, 1.0]}))
    n = sum("S" in c.allocation.steps for c in record.confirmed)
    assert f"Of the {n} with a cached member: " in error_sentence(cached)


def test_the_median_and_the_worst_prediction_error_are_told(record: Record) -> None:
    errors = sorted(abs(prediction_error(c) or 0) for c in record.confirmed)
    said = error_sentence(record)
    assert f"off by {50 * (errors[3] + errors[4]):.1f} % of the measured time in the median" in said
    assert f"{100 * errors[-1]:.1f} % at worst (S*20)" in said
    assert times(record).count("+1.4 %") == 2


@pytest.mark.parametrize(("device", "held"), [("AMD EPYC, 2 threads", "met"), ("NVIDIA H200", "missed")])
def test_a_miss_of_the_aim_is_said(record: Record, device: str, held: str) -> None:
    slower = tuple(replace(e, latency_s_predicted=1.05 * e.latency_s) for e in record.table.entries)
    point = replace(record.table.operating_points[0], device=device)
    table = replace(record.table, entries=slower, operating_points=(point,), candidates=())
    said = error_sentence(replace(record, table=table))
    assert "by 5.0 % of the measured time in the median" in said
    assert said.endswith(f"{held}</b>.</p>")


def test_the_calibration_tells_switches_memory_and_weights(record: Record) -> None:
    said = times(record)
    for cell in ("0.61 ± 0.31 ms", "633 MB", "7.4 MB", "61.0 ± 2.0 ms"):
        assert f">{cell}</td>" in said


@pytest.mark.parametrize(("spread", "said"), [(0.03, "within 10 %"), (0.25, "above 10 %")])
def test_the_spread_is_called_too_much_where_it_is(record: Record, spread: float, said: str) -> None:
    assert record.calibration is not None
    page = times(replace(record, calibration=replace(record.calibration, spread=spread)))
    assert f"differ by {100 * spread:.0f} %" in page
    assert said in page


def test_of_compiled_members_the_first_batch_is_told(record: Record) -> None:
    assert "compiles" not in times(record)
    facts = {**record.table.provenance, "first_batch_s": {"S": 12.34, "XL": 200.0}}
    compiled = replace(record, table=replace(record.table, provenance=facts))
    assert "The first batch of each, which compiles it, took S 12.3 s, XL 3 min 20 s." in times(compiled)


def test_a_reason_to_doubt_the_seconds_stands_below_the_headline(record: Record, tmp_path: Path) -> None:
    assert record.calibration is not None
    rough = replace(record, calibration=replace(record.calibration, spread=0.25))
    assert "busy" not in page(record, tmp_path).split("<dl")[0]
    assert "Seconds are rough: the machine was busy while steps were timed" in page(rough, tmp_path).split("<dl")[0]


def test_every_confirmed_allocation_has_a_time_at_every_operating_point(record: Record) -> None:
    said = times(record)
    for point in ("single\ncpu (2 threads)\nbatch of 1, predicted", "gpu\nNVIDIA H200\nbatch of 64, predicted"):
        assert said.count(f'data-label="{point}"') == len(record.confirmed) == 8
    assert said.count("2,345 MB") == 8
    assert "<b>0.02522 ± 0.00070 s</b>" in said  # S*14-XL*6 overtakes B*20 there ...
    assert "<b>0.02542 ± 0.00070 s</b>" not in said  # ... which leaves that front


def test_a_point_that_was_measured_before_is_not_called_predicted(record: Record) -> None:
    retimed = {**record.table.provenance, "retimed_from": [{"device": "NVIDIA H200", "point": "gpu"}]}
    said = times(replace(record, table=replace(record.table, provenance=retimed)))
    assert "batch of 64, measured before" in said
    assert "batch of 1, predicted" in said


def test_what_control_variates_gained_is_told(own_run: Path) -> None:
    assert read_record(own_run).controls is None
    told = {"state": "COMPLETE", "latency_s": 0.4, "quality": 20, "quality_se": 0.5, "n_images": 500}
    with Ledger(own_run / "ledger.jsonl") as ledger:
        for number, (text, effective_n) in enumerate([("S*8-XL*12", 310.0), ("S*6-XL*14", 290.0), ("XL*20", None)]):
            ledger.append("trial", number=number, allocation=text, **told, n_made=100, effective_n=effective_n)
    record = read_record(own_run)
    said = "For 2 allocations 100 images each told as much as 300 would have without"
    assert said in " ".join(limits(record))
    plot = pareto_section(record, Html())
    assert "The two groups are of different images" in plot
    assert "different n" not in plot


def test_limits_tell_of_ties_guard_and_records_only_where_there_are_any(record: Record, without: Record) -> None:
    told = " ".join(limits(record))
    for words in (
        "A tie is",
        "The guard is IS",
        "more than 5 %",
        "images of other seeds",
        "Predicted seconds add up",
    ):
        assert words in told
    silent = " ".join(limits(without))
    assert not [words for words in ("A tie", "guard", "recorded") if words in silent]
    recorded = replace(record.table, provenance={"recorded": {"table": "t.csv", "source": "table 9 of the paper"}})
    told = " ".join(limits(replace(record, table=recorded)))
    assert "Nothing was measured by this run: times and qualities were recorded in t.csv (table 9 of the paper)" in told


def test_a_metric_per_pair_is_told_as_what_it_is(record: Record) -> None:
    said = " ".join(limits(record))
    assert "with the features of" in said
    assert "depends on the number of images" in said
    of_pairs = replace(record, table=replace(record.table, objective=Objective("perceptual", "perceptual distance")))
    said = " ".join(limits(of_pairs))
    assert "compared with the one that XL alone makes of the same seed, which is the best by construction" in said
    assert "with the features of" not in said
    of_images = replace(record, table=replace(record.table, objective=Objective("clip_score", "CLIP score")))
    assert "Quality is CLIP score, the mean over images." in " ".join(limits(of_images))
    assert "depends on the number of images" not in said  # the expected value of a mean does not


def test_a_member_that_takes_no_step_and_is_beaten_alone_is_named_with_the_evidence(record: Record) -> None:
    entries, named = record.table.entries, "B takes no step on the front"
    idle = next(e for e in entries if str(e.allocation) == "B*20")
    others = tuple(e for e in entries if "B" not in e.allocation.steps)
    slower = Candidate(**{f.name: getattr(idle, f.name) for f in fields(Candidate)} | {"latency_s": 9.0})
    told = " ".join(limits(replace(record, table=replace(record.table, entries=others, candidates=(slower,)))))
    assert f"{named}. Alone it has FID {idle.quality:.3g} ± 0.42 in 9 s; XL*20 has" in told
    quick = replace(slower, latency_s=0.01)  # nothing on the front is as fast
    unsure = replace(slower, quality_se=100.0)
    searched = replace(slower, confirmed=False)
    for other in (quick, unsure, searched):
        table = replace(record.table, entries=others, candidates=(other,))
        assert named not in " ".join(limits(replace(record, table=table)))
    assert named not in " ".join(limits(record))


def test_nothing_is_shown_that_an_older_table_does_not_know(without: Record) -> None:
    page = front(without) + times(without)
    absent = ("memory\n", "KID", "IS", "tie ", "tied", "Operating points", "loses ")
    assert not [words for words in absent if words in page]
    assert front_notes(without.table) == []
    assert "beaten by S*12-XL*8" in page  # timed, so it was confirmed


def test_a_run_folder_of_an_older_table_still_makes_a_page(own_run: Path, without: Record) -> None:
    without.table.write(own_run / "lookup.json")
    assert LookupTable.read(own_run / "lookup.json") == without.table
    ledger = own_run / "ledger.jsonl"
    ledger.write_text("".join(line for line in ledger.read_text().splitlines(True) if '"calibration"' not in line))
    page = write_report(own_run).read_text(encoding="utf-8")
    assert "Time: predicted and measured" in page
    assert "Calibration</h3>" not in page


def test_the_page_stays_small(run_folder) -> None:
    assert write_report(run_folder.path).stat().st_size < 10_000_000


def test_a_member_whose_cache_decides_by_the_whole_batch_is_named(record: Record) -> None:
    told = "What the cache of XL-fbc skips depends on the whole batch"
    assert told not in " ".join(limits(record))
    denoisers = [{"name": "XL"}, {"name": "XL-fbc", "decides_by_batch": True}]
    table = replace(record.table, provenance={**record.table.provenance, "denoisers": denoisers})
    assert told in " ".join(limits(replace(record, table=table)))


def test_the_first_tiles_say_how_much_faster_and_at_which_quality(record: Record) -> None:
    (label, speed_up), (its, quality) = tiles(record)[:2]
    chosen = fastest_lossless(record)
    assert chosen is not None
    times = record.speed_up(chosen) or 0
    told = f"{times:.2f} ± {times * speed_up_error(record.table, chosen):.2f}\u00d7"
    assert (label, speed_up) == ("speed-up at no loss", told)
    assert quality == quality_text(chosen)
    anchor = next(c for c in record.confirmed if c.allocation == record.anchor)
    assert its == f"its FID-500; XL has {anchor.quality:.3g}"


def test_without_an_entry_to_choose_the_best_quality_is_told(without: Record) -> None:
    one = replace(without, table=replace(without.table, entries=without.table.entries[-1:]))
    assert tiles(one)[0] == ("best FID-500", quality_text(one.table.entries[0]))
