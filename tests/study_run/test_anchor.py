"""`quality.anchor`: another allocation than the largest denoiser alone is what all are held against."""

import pytest
from typer.testing import CliRunner

from tstitch_search.allocation import Allocation
from tstitch_search.cli.app import app
from tstitch_search.config import load_study
from tstitch_search.errors import ConfigError
from tstitch_search.lookup import LookupTable
from tstitch_search.report.reading import read_record
from tstitch_search.report.sections.limits import limits
from tstitch_search.search_space import SearchSpace
from tstitch_search.study_run.key import resolve_facts

NAMED = "quality.anchor=S*2-XL*2"
ANCHOR = Allocation.parse("S*2-XL*2")


@pytest.fixture(scope="module")
def finished(finish):
    return finish(NAMED, "confirm.lossless_margin=10%").outcome


def confirmed(table: LookupTable) -> dict:
    return {c.allocation: c for c in (*table.entries, *table.candidates) if c.confirmed}


def test_every_difference_and_speed_up_is_to_the_named_anchor(finished):
    table, found = finished.table, confirmed(finished.table)
    assert table.anchor == ANCHOR
    assert found[ANCHOR].quality_difference == 0
    largest = found[Allocation.parse("XL*4")]
    assert largest.quality_difference == pytest.approx(largest.quality - found[ANCHOR].quality, abs=1e-6)
    assert largest.quality_difference < 0
    assert table.describe(table.entries[-1]).speed_up == pytest.approx(
        found[ANCHOR].latency_s / table.entries[-1].latency_s
    )


def test_report_and_pick_name_it(finished):
    said = CliRunner().invoke(app, ["pick", str(finished.folder / "lookup.json"), "--lossless"])
    assert said.exit_code == 0
    assert "x as fast as S*2-XL*2" in said.output
    assert any("the loss against S*2-XL*2 is shown" in text for text in limits(read_record(finished.folder)))
    assert "against S*2-XL*2" in finished.report.read_text()


def test_it_is_another_measurement_only_where_it_is_not_the_default(tiny_family):
    def key(*overrides: str) -> dict:
        return dict(resolve_facts(load_study(tiny_family / "study.yaml", overrides)).key)

    assert key("quality.anchor=XL*4") == key()
    assert key(NAMED) == key() | {"quality.anchor": "S*2-XL*2"}


@pytest.mark.parametrize(
    ("anchor", "problem"),
    [
        ("XL*2-S*2", r"XL\*2-S\*2 is not in the search space"),
        ("B*4-Q*16", "unknown denoiser"),
        ("XL*7", "has 7 steps, the search space has 4"),
    ],
)
def test_an_anchor_outside_the_space_is_refused(tiny_family, anchor, problem):
    study = load_study(tiny_family / "study.yaml", [f"quality.anchor={anchor}"])
    with pytest.raises(ConfigError, match=f"quality.anchor: .*{problem}"):
        SearchSpace.of_study(study)
