"""Comparisons and other metrics from a run folder: the numbers of the table again, without a device."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from tstitch_search.allocation import Allocation
from tstitch_search.cli import app
from tstitch_search.errors import ConfigError, EnvironmentProblem
from tstitch_search.progress import Silent
from tstitch_search.quality.metrics.kid import KID
from tstitch_search.quality.reference import load_reference
from tstitch_search.tasks.compare import compare
from tstitch_search.tasks.requality import requality
from tstitch_search.tasks.stored import StoredRun


def test_difference_to_the_largest_is_that_of_the_table(plain):
    outcome = plain.outcome
    entry = outcome.table.entries[0]
    found = compare(outcome.folder, str(entry.allocation), "XL*4")
    assert found.set_name == "confirm"
    assert found.quality.n_images == entry.n_images
    assert found.quality.difference == pytest.approx(entry.quality_difference)
    assert found.quality.difference_se == pytest.approx(entry.quality_difference_se)
    assert found.verdict == "XL*4 is better"


def test_swapping_the_two_turns_the_sign_and_keeps_the_verdict(plain):
    folder = plain.outcome.folder
    one, other = compare(folder, "S*4", "B*4"), compare(folder, "B*4", "S*4")
    assert one.quality.difference == pytest.approx(-other.quality.difference)
    assert one.verdict == other.verdict == "B*4 is better"
    low, high = one.interval_90
    assert high - low == pytest.approx(2 * one.quality.half_width(0.9))


def test_an_allocation_cannot_be_told_from_itself(plain):
    assert compare(plain.outcome.folder, "S*4", "S*4").verdict == "cannot tell apart"


def test_allocations_that_were_only_searched_are_compared_on_the_search_images(plain):
    outcome = plain.outcome
    a, b, *_ = (str(c.allocation) for c in outcome.table.candidates if not c.confirmed)
    found = compare(outcome.folder, a, b)
    assert (found.set_name, found.quality.n_images) == ("search", 20)


def test_what_cannot_be_compared_is_said(run, measurer, tmp_path):
    folder = run(measurer, "search.n_trials=4").folder
    with pytest.raises(ConfigError, match=r"S\*3-XL\*1 and S\*4 have no images in common"):
        compare(folder, "S*3-XL*1", "S*4")
    with pytest.raises(ConfigError, match="unknown denoiser 'M'"):
        compare(folder, "M*4", "S*4")
    with pytest.raises(ConfigError, match="holds no ledger"):
        compare(tmp_path / "elsewhere", "S*4", "B*4")
    with pytest.raises(ConfigError, match="unknown metric 'fad'"):
        compare(folder, "S*4", "B*4", metric="fad")


def test_another_metric_is_computed_from_what_was_kept(plain, measurer, tmp_path):
    folder = plain.outcome.folder
    real = np.random.default_rng(0).normal(measurer.reference.mu, 1.0, size=(200, len(measurer.reference.mu)))
    np.savez(tmp_path / "real.npz", features=real.astype(np.float32))
    found = requality(folder, "kid", str(tmp_path / "real.npz"), Silent())
    stored = StoredRun.open(folder)
    by_place = {(name, str(a)): quality for name, a, quality in found.rows}
    assert {a for name, a in by_place if name == "search"} == {str(a) for a in stored.space}
    values = stored.read(Allocation.parse("S*4"), stored.common([Allocation.parse("S*4")], "confirm"))
    expected = KID.bind(load_reference(str(tmp_path / "real.npz"), tmp_path))(values)
    assert by_place["confirm", "S*4"].value == expected
    assert by_place["confirm", "XL*4"].difference == 0.0


def test_a_metric_whose_array_was_not_kept_says_how_to_get_it(plain):
    with pytest.raises(EnvironmentProblem, match=r"holds features, no logits"):
        requality(plain.outcome.folder, "inception_score", None, Silent())


def test_a_metric_that_needs_real_features_says_so(plain):
    with pytest.raises(ConfigError, match="KID needs features of real images"):
        requality(plain.outcome.folder, "kid", None, Silent())


def test_the_commands_print_tables_and_json(plain):
    folder, runner = str(plain.outcome.folder), CliRunner()
    said = runner.invoke(app, ["compare", folder, "S*4", "XL*4"])
    assert said.exit_code == 0, said.stdout
    assert "FID-40 on confirm images" in said.stdout
    assert "XL*4 is better" in said.stdout
    as_json = json.loads(runner.invoke(app, ["compare", folder, "S*4", "XL*4", "--json"]).stdout)
    assert as_json["verdict"] == "XL*4 is better"
    rows = json.loads(runner.invoke(app, ["requality", folder, "--metric", "fid", "--json"]).stdout)["rows"]
    assert {row["set"] for row in rows} == {"search", "confirm"}
    assert "S*4" in runner.invoke(app, ["requality", folder, "--metric", "fid"]).stdout


def test_a_reference_of_another_length_is_refused_with_both(plain, tmp_path):
    np.savez(tmp_path / "other.npz", mu=np.zeros(3), sigma=np.eye(3))
    with pytest.raises(ConfigError, match=r"stored features are 64 long, those of the reference .*other\.npz 3"):
        requality(plain.outcome.folder, "fid", str(tmp_path / "other.npz"), Silent())
