"""What a plan says of a folder that holds measurements already, and what the time costs."""

from pathlib import Path

import pytest

from tstitch_search.config import load_study
from tstitch_search.progress import Silent
from tstitch_search.tasks.plan import Plan, plan_study
from tstitch_search.tasks.status import status_of


def plan_of(tiny_family: Path, folder: Path, *overrides: str) -> Plan:
    return plan_study(load_study(tiny_family / "study.yaml", overrides), folder, None, Silent())


def test_a_finished_study_takes_no_more_time(tiny_family, run, measurer) -> None:
    folder = run(measurer).folder
    plan = plan_of(tiny_family, folder)
    assert (plan.is_finished, plan.wall_seconds, plan.usd(4.0)) == (True, 0.0, 0.0)
    assert plan.made_seconds == status_of(folder).device_seconds > 0
    assert dict(plan.rows())["time until the report"] == f"none: the run in {folder} is finished"


def test_a_study_that_wants_more_than_the_folder_holds_is_not_finished(tiny_family, run, measurer) -> None:
    folder = run(measurer).folder
    plan = plan_of(tiny_family, folder, "confirm.n_images=4000")
    assert not plan.is_finished
    alone = plan_of(tiny_family, folder.with_name("empty"), "confirm.n_images=4000")
    assert plan.wall_seconds < alone.wall_seconds  # what was measured counts
    assert "of device time are spent already" in dict(plan.rows())["time until the report"]


def test_images_are_shared_among_workers_and_each_workers_device_is_paid(tiny_family, tmp_path) -> None:
    one, two = (
        plan_of(tiny_family, tmp_path / "run", "workers.pool=ray", f"workers.n_workers={n}", "confirm.n_images=4000")
        for n in (1, 2)
    )
    images_s = one.stages_s["search"] + one.stages_s["confirm"]
    assert one.wall_seconds - two.wall_seconds == pytest.approx(images_s / 2)
    assert two.usd(3.6) == pytest.approx(two.wall_seconds * 2 * 0.001)
