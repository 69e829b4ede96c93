"""A study with a sampling profile, from end to end on real denoisers: what has no profile does not notice it."""

import json
from pathlib import Path

import pytest
from sampling.test_deploy_as_studied import table_of
from typer.testing import CliRunner

from tstitch_search.allocation import Allocation
from tstitch_search.cli import app
from tstitch_search.config import load_study
from tstitch_search.measure.drawing import draw
from tstitch_search.measure.measurer import StudyMeasurer
from tstitch_search.measurement import Calibrate, Chunk, MakeImages, TimeAllocations
from tstitch_search.progress import Silent
from tstitch_search.sampling.conditions import Condition
from tstitch_search.study_run import Result, run_study
from tstitch_search.study_run.key import resolve_facts
from tstitch_search.workers.inline import InlinePool

# PNDM asks five times in four steps: twice in the first.
PROFILE = """
profiles:
  fast:
    n_steps: 4
    solver: PNDMScheduler
    scheduler: {skip_prk_steps: true, timestep_spacing: leading}
    denoisers: [S, XL]
"""


@pytest.fixture(scope="module")
def study_path(tiny_family: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study beside the tiny family whose space has the profile, cut at halves."""
    folder = tmp_path_factory.mktemp("profiled")
    for name in ("S", "B", "XL", "vae", "scheduler", "features.safetensors", "reference.npz"):
        (folder / name).symlink_to(tiny_family / name)
    space = (tiny_family / "space.yaml").read_text().replace("grid: 1", "grid: 2")
    (folder / "plain.yaml").write_text(space)
    (folder / "space.yaml").write_text(space + PROFILE)
    (folder / "study.yaml").write_text((tiny_family / "study.yaml").read_text())
    return folder / "study.yaml"


@pytest.fixture(scope="module")
def outcome(study_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Result:
    study = load_study(study_path)
    pool = InlinePool(lambda: StudyMeasurer(study, threads=1))
    return run_study(study, tmp_path_factory.mktemp("run"), lambda _: pool, Silent())


def test_allocations_of_the_profile_are_measured_beside_the_others_and_stand_in_the_table(outcome: Result) -> None:
    table = outcome.table
    found = {str(c.allocation): c for c in (*table.entries, *table.candidates)}
    assert {"S*4@fast", "S*2-XL*2@fast", "XL*4@fast", "S*2-XL*2", "S*2-B*2", "XL*4"} <= found.keys()
    assert "B*4@fast" not in found
    assert found["XL*4@fast"].quality != found["XL*4"].quality
    document = json.loads((outcome.folder / "lookup.json").read_text())
    assert {m["allocation"]: m.get("profile") for m in [*document["entries"], *document["candidates"]]} == {
        text: "fast" if text.endswith("@fast") else None for text in found
    }
    assert "XL*4@fast" in (outcome.folder / "report.html").read_text()


def test_what_has_no_profile_is_bit_equal_to_a_study_without_one_and_keeps_its_key(study_path: Path) -> None:
    profiled, plain = load_study(study_path), load_study(study_path, ["search_space=plain.yaml"])
    beside, alone = StudyMeasurer(profiled, threads=1), StudyMeasurer(plain, threads=1)
    beside.load()
    alone.load()
    chunk = Chunk("search", 0, 4)
    fast = beside.do(MakeImages(Allocation.parse("S*2-XL*2@fast"), chunk))
    for text in ("S*2-XL*2", "XL*4"):
        made = [m.do(MakeImages(Allocation.parse(text), chunk)) for m in (beside, alone)]
        assert (made[0] == made[1]).all()
        assert (made[0] != fast).any()
    assert (beside.do(MakeImages(Allocation.parse("S*2-XL*2@fast"), chunk)) == fast).all()
    differing = dict(resolve_facts(profiled).key.items() - resolve_facts(plain).key.items())
    assert differing == {"space.profiles.fast": "PNDMScheduler(skip_prk_steps=True, timestep_spacing=leading)"}


def test_calls_of_a_profiles_solver_are_counted_and_its_steps_are_those_it_makes(study_path: Path) -> None:
    measurer = StudyMeasurer(load_study(study_path), threads=1)
    measurer.load()
    calibration = measurer.do(Calibrate(("S", "XL"), 4, 2))
    assert calibration.calls == {"4@fast": [2, 1, 1, 1]}
    plain, fast = (Allocation.parse(text) for text in ("S*4", "S*4@fast"))
    times = measurer.do(TimeAllocations((plain, fast), 2)).times
    assert times[0].timesteps != times[1].timesteps
    assert len(times[1].timesteps) == 4


def test_an_entry_of_a_profile_is_drawn_and_exported(study_path: Path) -> None:
    study, text = load_study(study_path), "S*2-XL*2@fast"
    table_of(study, resolve_facts(study), text)
    said = CliRunner().invoke(app, ["export", str(study_path.with_name("lookup.json")), "--format", "diffusers"])
    assert said.exit_code == 0, said.output
    (exported,) = json.loads(said.stdout)["entries"]
    settings = {"skip_prk_steps": True, "timestep_spacing": "leading"}
    assert (exported["profile"], exported["solver"], exported["scheduler"]) == ("fast", "PNDMScheduler", settings)
    fast, plain = (
        draw(study, Allocation.parse(text), [Condition(1)], [0], lambda _: None) for text in (text, "S*2-XL*2")
    )
    assert (fast != plain).any()
