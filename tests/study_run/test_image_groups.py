"""A study with groups: the table has the values of each, and says whether it serves them all."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from study_run.synthetic import SyntheticMeasurer, shift
from typer.testing import CliRunner

from tstitch_search.allocation import Allocation
from tstitch_search.cli import app
from tstitch_search.config import load_study
from tstitch_search.errors import ConfigError, QualityGateError
from tstitch_search.lookup import LookupTable
from tstitch_search.measurement import ChunkFeatures, MakeChunk
from tstitch_search.progress import Silent
from tstitch_search.quality.frechet import FrechetDistance
from tstitch_search.quality.reference import load_reference
from tstitch_search.study_run import Result, run_study
from tstitch_search.tasks.stored import StoredRun
from tstitch_search.workers.inline import InlinePool

N_SEARCH, N_CONFIRM = 20, 402
LABELS = [*[0, 1] * 210, 7, 7]


class TwoMinds(SyntheticMeasurer):
    """On images of label 1 the large denoiser does harm."""

    def _make(self, job: MakeChunk) -> ChunkFeatures:
        made = super()._make(job)
        first = 0 if job.chunk.set_name == "search" else N_SEARCH
        values = made.arrays["features"].copy()
        for i in range(job.chunk.first, job.chunk.last):
            if LABELS[first + i] == 1:
                values[i - job.chunk.first] += 0.1 + 0.02 * job.allocation.steps.get("XL", 0) - shift(job.allocation)
        return replace(made, arrays={"features": values})


@pytest.fixture(scope="module")
def result(tiny_family: Path, tmp_path_factory: pytest.TempPathFactory) -> Result:
    folder = tmp_path_factory.mktemp("groups")
    (folder / "labels").write_text("".join(f"{label}\n" for label in LABELS))
    given = [f"proxy_set.labels={folder / 'labels'}", "proxy_set.groups={column: label}"]
    study = load_study(tiny_family / "study.yaml", [*given, f"confirm.n_images={N_CONFIRM}", "proxy_set.chunk_size=20"])
    measurer = TwoMinds(load_reference("reference.npz", tiny_family), own_noise=0.1)
    return run_study(study, folder / "run", lambda _: InlinePool(lambda: measurer), Silent())


def test_every_confirmed_allocation_has_the_values_of_each_group(result: Result) -> None:
    run, metric = StoredRun.open(result.folder), "fid"
    (anchor,) = [e for e in result.table.entries if e.allocation == result.table.anchor]
    reference = run.reference()
    assert reference is not None
    distance = FrechetDistance(reference)
    for entry in result.table.entries:
        assert {name: v.n_images for name, v in entry.by_group.items()} == {"0": 200, "1": 200, "7": 2}
        assert entry.by_group["7"].metrics == {}  # too few to say
        chunks = run.common([entry.allocation], "confirm")
        own = np.array(LABELS[N_SEARCH:]) == 1
        features = run.read(entry.allocation, chunks)[own]
        value = entry.by_group["1"].metrics[metric]
        assert value.value == pytest.approx(distance(features), rel=1e-6)
        assert value.difference == pytest.approx(value.value - anchor.by_group["1"].metrics[metric].value)
        assert (value.difference_se or 0) > 0 or entry == anchor


def test_where_groups_differ_one_table_does_not_serve_them(result: Result) -> None:
    about = result.table.provenance["groups"]
    assert about["answer"].startswith("One table does not serve all 3 groups: in 1, ")
    best = about["gains"][0]
    assert best["group"] == "1"
    assert "XL" not in best["better"]
    assert 0 < best["low"] < best["gain"] < best["high"]
    assert about["too_few"] == ["7"]


def test_a_group_picks_from_its_own_front(result: Result) -> None:
    table, slowest = result.table, result.table.entries[-1]
    assert table.pick(group="0").allocation == slowest.allocation == Allocation.parse("XL*4")
    assert "XL" not in table.pick(group="1").allocation.steps
    assert table.pick(group="1").quality == table.of_group("1").entries[-1].quality
    assert table.pick(lossless=True, group="1").lossless
    with pytest.raises(ConfigError, match="unknown group '2', expected one of 0, 1, 7"):
        table.pick(group="2")
    with pytest.raises(QualityGateError, match="the 2 images of '7' are too few to say anything about FID"):
        table.pick(group="7")


def test_the_file_the_verb_and_the_page_say_the_same(result: Result) -> None:
    assert LookupTable.read(result.folder / "lookup.json") == result.table
    said = CliRunner().invoke(app, ["pick", str(result.folder), "--group", "1", "--json"])
    assert json.loads(said.stdout)["allocation"] == str(result.table.pick(group="1").allocation)
    page = result.report.read_text()
    assert result.table.provenance["groups"]["answer"] in page
    assert 'data-group="0"' in page
    assert "too few to say" in page
    plot = json.loads(page.split('id="pareto-plot">', 1)[1].split("</script>", 1)[0])
    assert [t["meta"] for t in plot["data"] if str(t["meta"]).startswith("group-")] == ["group-0", "group-1"]


def test_a_table_without_groups_says_so(result: Result) -> None:
    plain = replace(result.table, entries=tuple(replace(e, by_group={}) for e in result.table.entries), candidates=())
    with pytest.raises(ConfigError, match="the table has no values of groups"):
        plain.pick(group="1")
