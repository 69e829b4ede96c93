"""Further metrics and the guard: told for every entry, and an entry that loses the guard is flagged."""

from itertools import pairwise

import numpy as np
import pytest

from tstitch_search.config import load_study
from tstitch_search.lookup import LookupTable
from tstitch_search.quality.estimate import QualityEstimate
from tstitch_search.quality.reference import load_reference
from tstitch_search.search_space import SearchSpace
from tstitch_search.study_run.evaluation import Evaluator


@pytest.fixture
def with_real_features(measurer, tiny_family, tmp_path) -> str:
    """A reference that holds features of real images too."""
    path = tmp_path / "real.npz"
    mu, sigma = measurer.reference.mu, measurer.reference.sigma
    features = np.random.default_rng(0).normal(mu, np.sqrt(np.diag(sigma)), size=(200, len(mu)))
    np.savez(path, mu=mu, sigma=sigma, features=features.astype(np.float32))
    return f"quality.reference={path}"


def test_further_metrics_are_published_with_errors_and_differences(run, measurer, with_real_features):
    table = run(measurer, with_real_features, "quality.metrics=[kid, precision, recall]").table
    for entry in table.entries:
        assert set(entry.metrics) == {"kid", "precision", "recall"}
        assert all(value.se is not None and value.se >= 0 for value in entry.metrics.values())
    anchor = table.entries[-1]
    assert anchor.metrics["kid"].difference == 0.0
    assert table.entries[0].metrics["kid"].value > anchor.metrics["kid"].value


def test_an_entry_that_loses_the_guard_is_flagged_in_table_and_headline(run, measurer):
    """The guard compares with the anchor's own images of the other set: the more S, the farther."""
    guard = "quality.guard={metric: fid, reference: anchor, tolerance: 50%}"
    outcome = run(measurer, guard, "confirm.lossless_margin=1")
    by_name = {str(e.allocation): e for e in outcome.table.entries}
    assert not by_name["XL*4"].guard_lost
    assert by_name["S*4"].guard_lost
    assert by_name["S*4"].metrics["guard"].value > by_name["XL*4"].metrics["guard"].value > 0
    assert outcome.table.provenance["guard"] == {"metric": "fid", "tolerance": 0.5, "reference": "anchor"}
    lost = [str(e.allocation) for e in outcome.table.entries if e.guard_lost]
    assert not any(f": {name} " in outcome.table.provenance["headline"] for name in lost)
    assert LookupTable.read(outcome.folder / "lookup.json") == outcome.table


@pytest.mark.parametrize(("difference", "higher", "lost"), [(-0.1, True, True), (0.1, True, False), (0.1, False, True)])
def test_the_guard_is_lost_in_its_own_direction(tiny_family, difference, higher, lost):
    study = load_study(tiny_family / "study.yaml", ["quality.guard={metric: inception_score, tolerance: 2%}"])
    reference = load_reference("reference.npz", tiny_family)
    evaluator = Evaluator(study.config.quality, SearchSpace.from_config(study.space).anchor, reference)
    assert evaluator.is_guard_lost(QualityEstimate(2.0, 0.1, 100, difference, 0.1, higher)) is lost


def test_entries_that_cannot_be_told_apart_are_of_one_group_begun_by_the_fastest(run, measurer):
    measured = run(measurer, "confirm.max_entries=20").table.entries
    groups = [e.group for e in measured]
    assert groups[0] == 1
    assert all(b - a in (0, 1) for a, b in pairwise(groups))
    assert groups[-1] > 1  # S alone and XL alone differ
