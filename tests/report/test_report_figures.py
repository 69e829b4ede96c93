"""The Pareto plot: everything measured is on it, and no group mixes FIDs that do not compare."""

from dataclasses import replace
from pathlib import Path

import pytest

from tstitch_search.lookup import LookupTable, MetricValue
from tstitch_search.report.plots.pareto import pareto
from tstitch_search.report.plots.times import time_plot
from tstitch_search.report.reading import read_record
from tstitch_search.report.sections.alignment import alignment_plot


def test_no_group_of_the_plot_mixes_numbers_of_images(run_folder) -> None:
    figure = pareto(read_record(run_folder.path))
    names = [{row[3].split()[0] for row in trace.customdata} for trace in figure.data if trace.customdata]
    assert all(len(name) == 1 for name in names)
    assert {"FID-100"} in names
    assert {"FID-500"} in names


def test_the_plot_holds_every_search_measurement_and_the_whole_front(run_folder) -> None:
    search, front, *_ = pareto(read_record(run_folder.path)).data
    assert len(search.x) == 17
    assert list(front.x) == [e.latency_s for e in run_folder.entries]
    assert list(front.y) == [e.quality for e in run_folder.entries]
    assert front.error_y.array == pytest.approx([1.96 * e.quality_se for e in run_folder.entries])
    assert front.line.shape == "hv"  # the best within a budget; a slope would interpolate


def test_single_denoisers_and_the_papers_rule_are_named(run_folder) -> None:
    landmarks = {
        trace.text[0]: trace.customdata[0][0] for trace in pareto(read_record(run_folder.path)).data if trace.text
    }
    assert landmarks == {"S": "S*20", "B": "B*20", "XL": "XL*20", "40 % rule": "S*8-XL*12"}


def test_an_unmeasured_rule_is_not_marked(own_run: Path) -> None:
    table = LookupTable.read(own_run / "lookup.json")
    replace(table, entries=tuple(e for e in table.entries if str(e.allocation) != "S*8-XL*12")).write(
        own_run / "lookup.json"
    )
    ledger = own_run / "ledger.jsonl"
    ledger.write_text("".join(line for line in ledger.read_text().splitlines(True) if "S*8-XL*12" not in line))
    assert read_record(own_run).paper_rule_measured is None
    assert "40 % rule" not in [trace.text and trace.text[0] for trace in pareto(read_record(own_run)).data]


def test_predicted_and_measured_times_are_held_against_the_line_where_they_agree(run_folder) -> None:
    plot = time_plot(read_record(run_folder.path))
    assert plot is not None
    agree, points = plot.data
    assert agree.x == agree.y
    assert dict(zip(points.x, points.y, strict=True)).items() >= {
        (e.latency_s_predicted, e.latency_s) for e in run_folder.entries
    }
    assert min(agree.x) < min(*points.x, *points.y)
    assert max(agree.x) > max(*points.x, *points.y)


def test_prompt_alignment_is_drawn_over_the_share_of_the_smaller_denoisers(run_folder) -> None:
    record = read_record(run_folder.path)
    assert alignment_plot(record) is None
    score = {"clip_score": MetricValue(value=31.0, se=0.2)}
    entries = tuple(replace(e, metrics=score) for e in record.table.entries)
    plot = alignment_plot(replace(record, table=replace(record.table, entries=entries)))
    assert plot is not None
    (points,) = plot.data
    shares = dict(zip((row[0] for row in points.customdata), points.x, strict=True))
    assert (shares["XL*20"], shares["B*20"]) == (0, 1)
    assert shares["S*8-XL*12"] == pytest.approx(0.4)


def test_a_denoiser_alone_that_was_not_confirmed_is_not_drawn_beside_the_confirmed(own_run: Path) -> None:
    table = LookupTable.read(own_run / "lookup.json")
    without = tuple(e for e in table.entries if str(e.allocation) != "B*20")
    replace(table, entries=without).write(own_run / "lookup.json")
    marks = {trace.text[0]: trace for trace in pareto(read_record(own_run)).data if trace.text}
    assert "B" not in marks
    assert (marks["XL"].marker.symbol, marks["XL"].meta) == ("diamond", "")
