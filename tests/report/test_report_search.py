"""How the search went: hypervolume, quality over fractions, what the model expects, and what was saved."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from tstitch_search.allocation import Allocation
from tstitch_search.config import SpaceConfig
from tstitch_search.latency_model import LatencyModel
from tstitch_search.ledger import Ledger
from tstitch_search.measurement import Calls
from tstitch_search.report.plots.hypervolume import hypervolume_band, hypervolume_plot, hypervolume_steps
from tstitch_search.report.plots.pareto import pareto
from tstitch_search.report.reading import read_record
from tstitch_search.report.record import Record
from tstitch_search.report.sections.economy import enumeration, reuse
from tstitch_search.report.sections.search import search_section, ternary_plot
from tstitch_search.report.wording import duration
from tstitch_search.search_space import SearchSpace

SPACE = {
    "name": "fixture",
    "n_steps": 20,
    "grid": 0.1,
    "denoisers": [{"name": name, "weights": f"zoo:fashion/{name}"} for name in ("S", "B", "XL")],
}


@pytest.fixture(scope="module")
def record(run_folder) -> Record:
    return read_record(run_folder.path)


@pytest.fixture
def with_posterior(own_run: Path) -> Record:
    with Ledger(own_run / "ledger.jsonl") as ledger:
        rows = [["S*2-B*2-XL*16", 0.61, 13.5, 0.4], ["S*2-B*18", 0.29, 24.0, 1.0]]
        ledger.append("posterior", n_images=100, rows=rows)
    return read_record(own_run)


def test_the_hypervolume_only_grows_with_the_seconds_of_the_search_alone(record: Record) -> None:
    steps = hypervolume_steps(record)
    assert len(steps) == len(record.trials)
    assert steps == sorted(steps)
    assert [share for _, share in steps] == sorted(share for _, share in steps)
    assert steps[-1] == (pytest.approx(record.costs[0].seconds), 1.0)


def test_values_at_another_n_do_not_enter_the_hypervolume(record: Record) -> None:
    other = replace(record.trials[0], n_images=5000, quality=0.001)
    assert len(hypervolume_steps(replace(record, trials=(other, *record.trials[1:])))) == len(record.trials) - 1


def test_the_band_of_the_hypervolume_is_as_wide_as_the_values_are_uncertain(record: Record) -> None:
    shares = [share for _, share in hypervolume_steps(record)]
    sure = replace(record, trials=tuple(replace(t, quality_se=0.0) for t in record.trials))
    assert hypervolume_band(sure) == [(share, share) for share in shares]
    doubtful = replace(record, trials=tuple(replace(t, quality_se=0.3) for t in record.trials))
    band = hypervolume_band(doubtful)
    assert [low < share < high for share, (low, high) in zip(shares, band, strict=True)][:3] == [True] * 3
    assert band[-1] == (1.0, 1.0)
    assert band == hypervolume_band(doubtful)  # the page of a run is the same each time it is written
    assert [tuple(trace.y) for trace in hypervolume_plot(doubtful).data[:2]] == list(zip(*band, strict=True))


def test_each_mix_of_fractions_is_one_point_of_the_map_the_best_of_its_orders(record: Record) -> None:
    (measured,) = ternary_plot(record).data
    shares = list(zip(measured.a, measured.b, measured.c, strict=True))
    assert len(set(shares)) == len(shares)
    assert all(sum(share) == pytest.approx(1) for share in shares)
    worse = replace(record.trials[0], allocation=Allocation.parse("XL*12-S*8"), quality=99.0)
    assert max(ternary_plot(replace(record, trials=(*record.trials, worse))).data[0].marker.color) < 99


def test_only_three_denoisers_have_a_map(record: Record) -> None:
    two = tuple(t for t in record.trials if "B" not in t.allocation.steps)
    facts = {**record.table.provenance, "denoisers": record.table.provenance["denoisers"][::2]}
    entries = tuple(e for e in record.table.entries if "B" not in e.allocation.steps)
    table = replace(record.table, entries=entries, candidates=(), provenance=facts)
    assert "over fractions" in search_section(record)
    assert "over fractions" not in search_section(replace(record, table=table, trials=two, calibration=None))


def test_what_nobody_measured_is_faint_with_its_band(with_posterior: Record) -> None:
    expected = next(trace for trace in pareto(with_posterior).data if trace.meta == "posterior")
    assert list(expected.y) == [13.5, 24.0]
    assert list(expected.error_y.array) == pytest.approx([1.96 * 0.4, 1.96])
    assert expected.marker.opacity < 0.5
    drawn = ternary_plot(with_posterior).data
    assert [len(trace.a) for trace in drawn] == [2, len(drawn[1].a)]


def test_without_predictions_there_is_no_trace_of_them(record: Record) -> None:
    assert "posterior" not in [trace.meta for trace in pareto(record).data]


def test_the_price_of_enumeration_is_added_up_over_the_space(record: Record) -> None:
    assert enumeration(record) == ""  # the fixture's table does not describe its space
    facts = {**record.table.provenance, "study": {"search_space": SPACE}, "n_images_search": 160}
    said = enumeration(replace(record, table=replace(record.table, provenance=facts)))
    space = SearchSpace.from_config(SpaceConfig.model_validate(SPACE))
    seconds = 10 * sum(LatencyModel(record.calibration).latency_s(a) for a in space)  # ten batches of 16
    assert f"all {len(space)} allocations of the space, 160 images each, would have taken about" in said
    assert f"about {duration(seconds)} of device time" in said
    assert enumeration(replace(record, table=replace(record.table, provenance={**facts, "space_size": 10**6}))) == ""


def test_what_sharing_saved_is_told_only_where_there_was_any(record: Record) -> None:
    assert reuse(record) == ""
    saved = reuse(replace(record, calls=Calls(Counter(S=60, XL=100), Counter(S=40))))
    assert "40 of 200 denoiser calls were not made again" in saved
    share = 40 * 0.0041 / (100 * 0.0041 + 100 * 0.0307)
    assert f"{100 * share:.3g} % of the denoisers' time" in saved
