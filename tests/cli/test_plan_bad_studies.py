"""Every bad study through the real `plan` verb: one message that says what is wrong, and nothing left behind."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tstitch_search.cli import app
from tstitch_search.errors import TStitchError

BAD = sorted((Path(__file__).parent.parent / "bad_studies").glob("*.yaml"))


def plan(study: Path, *arguments: str) -> TStitchError:
    """The error `plan` ends with. Anything else, a traceback of ours included, fails the test."""
    result = CliRunner().invoke(app, ["plan", str(study), *arguments])
    assert isinstance(result.exception, TStitchError), result.output
    return result.exception


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_bad_study_is_refused_by_plan_with_the_promised_text(path: Path, tmp_path: Path):
    expected = path.read_text(errors="replace").splitlines()[0].removeprefix("# expect: ")
    error = plan(path, "-o", str(tmp_path / "run"))
    assert expected in str(error)
    assert error.exit_code == 2
    assert not (tmp_path / "run").exists()


@pytest.fixture
def family(tiny_family: Path, tmp_path: Path) -> Path:
    """A copy of the tiny family that a test may damage."""
    return Path(shutil.copytree(tiny_family, tmp_path / "family"))


def edit_json(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_missing_weights_are_named_with_their_place(family: Path):
    (family / "B" / "diffusion_pytorch_model.safetensors").unlink()
    error = plan(family / "study.yaml")
    assert error.exit_code == 3
    assert "'B'" in str(error)
    assert str(family / "B") in str(error)


def test_missing_member_folder_is_named(family: Path):
    shutil.rmtree(family / "XL")
    assert "'XL'" in str(plan(family / "study.yaml"))


def test_other_latent_shape_is_refused_naming_both_sides(family: Path):
    edit_json(family / "B" / "config.json", sample_size=16)
    error = plan(family / "study.yaml")
    assert error.exit_code == 2
    assert "16" in str(error)
    assert "8" in str(error)


def test_other_noise_schedule_is_refused_naming_both_sides(family: Path):
    shutil.copytree(family / "scheduler", family / "B" / "scheduler")
    edit_json(family / "B" / "scheduler" / "scheduler_config.json", beta_schedule="linear")
    error = plan(family / "study.yaml")
    assert error.exit_code == 2
    assert "linear" in str(error)
    assert "squaredcos_cap_v2" in str(error)


def test_other_prediction_type_is_refused(family: Path):
    shutil.copytree(family / "scheduler", family / "S" / "scheduler")
    edit_json(family / "S" / "scheduler" / "scheduler_config.json", prediction_type="epsilon")
    assert "epsilon" in str(plan(family / "study.yaml"))


def test_missing_reference_is_named(family: Path):
    (family / "reference.npz").unlink()
    error = plan(family / "study.yaml")
    assert error.exit_code == 3
    assert "reference.npz" in str(error)


def test_unwritable_folder_is_refused_before_anything_is_done(family: Path):
    error = plan(family / "study.yaml", "-o", "/proc/run")
    assert error.exit_code == 3
    assert "/proc" in str(error)


def test_folder_that_is_a_file_is_refused(family: Path):
    error = plan(family / "study.yaml", "-o", str(family / "study.yaml"))
    assert error.exit_code == 3


def test_folder_of_another_study_is_refused_naming_what_differs(family: Path, tmp_path: Path):
    opened = {
        "event": "opened",
        "at": "2026-01-01T00:00:00+00:00",
        "ledger_version": 1,
        "study": "x",
        "key": {"dtype": "float16"},
    }
    (tmp_path / "run").mkdir()
    measured = {"event": "calibration", "at": "2026-01-01T00:00:01+00:00"}
    (tmp_path / "run" / "ledger.jsonl").write_text(f"{json.dumps(opened)}\n{json.dumps(measured)}\n")
    error = plan(family / "study.yaml", "-o", str(tmp_path / "run"))
    assert error.exit_code == 2
    assert "dtype: float16 there, float32 now" in str(error)
