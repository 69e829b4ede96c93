"""A study of members that differ in guidance alone, from end to end on real denoisers."""

from pathlib import Path

import pytest

from tstitch_search.allocation import Allocation
from tstitch_search.config import load_study
from tstitch_search.measure.measurer import StudyMeasurer
from tstitch_search.measurement import Calibrate
from tstitch_search.progress import Silent
from tstitch_search.study_run import Result, run_study
from tstitch_search.tasks.plan import plan_study
from tstitch_search.workers.inline import InlinePool

SPACE = """\
name: guided
family: dit
pipeline: {folder}
n_classes: 10
denoisers:
  - {{name: S, weights: {folder}/S}}
  - {{name: XL-free, weights: {folder}/XL, guidance_scale: 1}}
  - {{name: XL, of: XL-free, guidance_scale: 1.5}}
n_steps: 4
grid: 2
orders: any
max_switches: 1
fewer_steps: []
"""


@pytest.fixture(scope="module")
def study_path(tiny_family: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("guided")
    (folder / "space.yaml").write_text(SPACE.format(folder=tiny_family))
    text = (tiny_family / "study.yaml").read_text()
    for name in ("features.safetensors", "reference.npz"):
        text = text.replace(name, str(tiny_family / name))
    (folder / "study.yaml").write_text(text)
    return folder / "study.yaml"


@pytest.fixture(scope="module")
def outcome(study_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Result:
    study = load_study(study_path)
    pool = InlinePool(lambda: StudyMeasurer(study, threads=1))
    return run_study(study, tmp_path_factory.mktemp("run"), lambda _: pool, Silent())


def test_every_allocation_of_them_is_measured_and_shared_weights_count_once(outcome: Result) -> None:
    table = outcome.table
    found = {str(c.allocation): c for c in (*table.entries, *table.candidates)}
    assert {"XL-free*4", "XL*4", "XL-free*2-XL*2", "XL*2-S*2"} <= found.keys()
    extra = {name: c.extra_weights_mb for name, c in found.items()}
    assert extra["XL-free*2-XL*2"] == extra["XL-free*4"] == extra["XL*4"] == 0
    assert extra["S*2-XL*2"] == extra["S*2-XL-free*2"] > 0
    qualities = {found[name].quality for name in ("XL-free*4", "XL*4", "XL-free*2-XL*2")}
    assert len(qualities) == 3


def test_the_table_says_how_each_member_is_guided(outcome: Result) -> None:
    said = {d["name"]: (d["of"], d["guidance_scale"]) for d in outcome.table.provenance["denoisers"]}
    assert said == {"S": (None, None), "XL-free": (None, 1.0), "XL": ("XL-free", 1.5)}
    assert outcome.table.provenance["key"]["guidance.XL-free"] == "1"


def test_memory_and_plan_count_the_weights_once(study_path: Path) -> None:
    study = load_study(study_path)
    measurer = StudyMeasurer(study, threads=1)
    measurer.load()
    found = measurer.do(Calibrate(("S", "XL-free", "XL"), n_steps=4, n_repeats=3))
    assert found.weights_of == {"XL": "XL-free"}
    assert found.weights_mb["XL"] == found.weights_mb["XL-free"]
    both = max(found.member_memory_mb["XL"], found.member_memory_mb["XL-free"])
    assert both < found.peak_memory_mb < both + 2 * found.weights_mb["S"] < both + found.weights_mb["XL"]
    plan = plan_study(study, study_path.parent / "run", None, Silent())
    assert plan.weights_of == {"XL": "XL-free"}
    assert "XL of XL-free" in dict(plan.rows())["denoisers, noise end first"]


def test_the_allocation_of_a_name_with_a_hyphen_is_found_again(outcome: Result) -> None:
    for entry in outcome.table.entries:
        assert Allocation.parse(str(entry.allocation)) == entry.allocation
