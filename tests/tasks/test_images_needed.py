"""`plan` says how many images suffice, from the spread of those that the run folder holds."""

from pathlib import Path
from statistics import median

import pytest

from tstitch_search.config import load_study
from tstitch_search.progress import Silent
from tstitch_search.tasks.images_needed import images_of
from tstitch_search.tasks.plan import Plan, plan_study


def plan_of(tiny_family: Path, folder: Path) -> Plan:
    return plan_study(load_study(tiny_family / "study.yaml"), folder, None, Silent())


def errors_of(result) -> list[float]:
    entries = (*result.table.entries, *(c for c in result.table.candidates if c.confirmed))
    return [e.quality_difference_se for e in entries if e.quality_difference_se]


def test_before_the_first_images_nothing_is_claimed(tiny_family, tmp_path) -> None:
    plan = plan_of(tiny_family, tmp_path / "run")
    assert plan.images_needed is None
    assert "plan again" in dict(plan.rows())["images for a verdict"]


def test_so_many_images_have_that_error(run, measurer) -> None:
    few = run(measurer, "confirm.n_images=200", folder="few")
    wanted = median(errors_of(few)) / 2
    found = images_of(few.folder)
    assert found is not None
    n_images = found.for_error(wanted)
    assert n_images == pytest.approx(800, rel=0.5)  # half the error, four times the images
    many = run(measurer, f"confirm.n_images={-(-n_images // 20) * 20}", folder="many")
    assert median(errors_of(many)) == pytest.approx(wanted, rel=0.3)


def test_a_finished_run_says_what_a_lossless_verdict_would_cost(tiny_family, run, measurer) -> None:
    result = run(measurer)
    said = dict(plan_of(tiny_family, result.folder).rows())
    assert said["a lossless entry"].startswith(("none is shown", "S*", "B*"))
    assert said["images for a verdict"].startswith("about ")
