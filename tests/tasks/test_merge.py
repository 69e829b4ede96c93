"""Two tables made into one: as if one run had measured all of it."""

import json
from dataclasses import replace
from math import sqrt
from pathlib import Path

import numpy as np
import pytest
from study_run.synthetic import STEP_S, SyntheticMeasurer
from typer.testing import CliRunner

from tstitch_search.cli import app
from tstitch_search.errors import ConfigError
from tstitch_search.lookup import LookupTable
from tstitch_search.tasks.tables.merge import combined, merge


def table_of(outcome) -> Path:
    return outcome.folder / "lookup.json"


@pytest.fixture
def halves(run, measurer) -> tuple[Path, Path]:
    """Tables of one study that searched different parts of the space."""
    few, many = ("search.n_trials=5", "confirm.max_entries=3"), ("sampler_seed=3", "confirm.max_entries=9")
    return table_of(run(measurer, *few, folder="a")), table_of(run(measurer, *many, folder="b"))


def test_of_the_same_seeds_it_is_the_table_of_one_run_that_confirmed_both(run, measurer, halves) -> None:
    whole = LookupTable.read(table_of(run(measurer, "confirm.max_entries=20", folder="whole")))
    once = {c.allocation: c for c in (*whole.entries, *whole.candidates) if c.confirmed}
    made = merge(*halves)
    for c in (*made.entries, *made.candidates):
        if c.confirmed:
            recomputed = once[c.allocation]
            assert (c.quality, c.quality_se) == (recomputed.quality, recomputed.quality_se)
            assert (c.quality_difference, c.quality_difference_se) == (
                recomputed.quality_difference,
                recomputed.quality_difference_se,
            )
            assert c.latency_s == pytest.approx(recomputed.latency_s)
    assert {c.allocation for c in (*made.entries, *made.candidates)} >= {
        c.allocation for path in halves for c in LookupTable.read(path).entries
    }


def test_a_table_merged_with_itself_says_nothing_more(halves) -> None:
    before, made = LookupTable.read(halves[1]), merge(halves[1], halves[1])
    assert [e.allocation for e in made.entries] == [e.allocation for e in before.entries]
    assert [(e.quality, e.quality_se) for e in made.entries] == [(e.quality, e.quality_se) for e in before.entries]
    assert [e.lossless for e in made.entries] == [e.lossless for e in before.entries]


def test_of_other_seeds_the_errors_are_those_of_independent_images(run, measurer) -> None:
    first, second = (table_of(run(measurer, f"proxy_set.seed={s}", folder=f"seed{s}")) for s in (1, 2))
    a, b = LookupTable.read(first), LookupTable.read(second)
    made = {e.allocation: e for e in merge(first, second).entries}
    for e in a.entries:
        for other in b.entries:
            if e.allocation == other.allocation and e.allocation in made:
                assert made[e.allocation].quality == pytest.approx((e.quality + other.quality) / 2)
                assert made[e.allocation].quality_se == pytest.approx(sqrt(e.quality_se**2 + other.quality_se**2) / 2)


def test_a_weighted_mean_has_the_error_that_it_scatters_with() -> None:
    draw = np.random.default_rng(0)
    found = [combined([(draw.normal(5, 0.1), 0.1), (draw.normal(5, 0.3), 0.3)])[0] for _ in range(4000)]
    assert np.std(found) == pytest.approx(1 / sqrt(1 / 0.1**2 + 1 / 0.3**2), rel=0.05)
    _, agree = combined([(5.0, 0.1), (5.0, 0.1)])
    _, apart = combined([(5.0, 0.1), (6.0, 0.1)])
    assert agree == pytest.approx(0.1 / sqrt(2))
    assert apart == pytest.approx(0.5)  # half their distance: what two values that disagree say of their mean


def test_a_slower_machines_times_come_at_the_first_ones_pace(run, measurer, halves) -> None:
    slower = SyntheticMeasurer(measurer.reference, step_s={n: 1.5 * s for n, s in STEP_S.items()})
    slow = table_of(run(slower, "confirm.max_entries=9", folder="slow"))
    made = merge(halves[1], slow)
    pace = made.provenance["merged"]["pace"]
    assert 1.0 < pace <= 1.5
    anchor = next(e for e in made.entries if e.allocation == made.anchor)
    assert anchor.latency_s == pytest.approx(LookupTable.read(halves[1]).entries[-1].latency_s, rel=0.1)


def test_tables_of_other_members_devices_or_settings_are_refused_by_name(halves, tmp_path) -> None:
    document = json.loads(halves[0].read_text())
    document["provenance"]["key"]["weights.XL"] = "0" * 64
    document["operating_points"][0]["device"] = "another"
    other = tmp_path / "other.json"
    other.write_text(json.dumps(document))
    with pytest.raises(ConfigError, match=r"device: synthetic and another\n  weights\.XL: "):
        merge(halves[1], other)


def test_the_command_writes_a_table(halves, tmp_path) -> None:
    path = tmp_path / "both.json"
    said = CliRunner().invoke(app, ["merge", *map(str, halves), "-o", str(path)])
    assert said.exit_code == 0, said.output
    made = LookupTable.read(path)
    assert replace(made, provenance={}) == replace(merge(*halves), provenance={})
