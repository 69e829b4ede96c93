"""`init` writes a study that plans, for people who have the package and no clone."""

import os
import pty
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from children import HANG_S
from sampling.saved_pipelines import know_positions, save_pipeline
from typer.testing import CliRunner

from tstitch_search.cli import app
from tstitch_search.cli.init_verbs import Start, templates
from tstitch_search.config import SpaceConfig, StudyConfig, load_study
from tstitch_search.errors import ConfigError
from tstitch_search.progress import Silent
from tstitch_search.quality.metrics import METRICS
from tstitch_search.tasks.plan import plan_study

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("start", Start, ids=lambda start: start.name.lower())
def test_a_study_that_init_writes_loads(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said = CliRunner().invoke(app, ["init", start.name.lower()])
    assert said.exit_code == 0, said.exception
    written = [str(path.relative_to(tmp_path).as_posix()) for path in tmp_path.rglob("*") if path.is_file()]
    assert set(said.stdout.split()) == set(written)
    study = load_study(tmp_path / start.value)
    assert study.space.pipeline is not None
    assert "#" in (tmp_path / start.value).read_text()


@pytest.mark.parametrize("question", ["same", "as-good"])
@pytest.mark.parametrize("start", Start, ids=lambda start: start.name.lower())
def test_either_question_can_be_asked_of_every_family(
    start: Start, question: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = CliRunner().invoke(app, ["init", start.name.lower(), "--question", question])
    assert said.exit_code == 0, said.exception
    quality = load_study(tmp_path / start.value).config.quality
    assert (METRICS[quality.objective].kind == "pair") == (question == "same")
    assert question == "as-good" or quality.reference is None
    assert yaml.safe_load((tmp_path / start.value).read_text())["name"]


def test_the_quickstart_asked_for_the_same_pictures_plans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(app, ["init", "--question", "same"]).exit_code == 0
    said = CliRunner().invoke(app, ["plan", "studies/quickstart.yaml"])
    assert said.exit_code == 0, said.exception
    assert "the same pictures as XL" in said.output


def test_without_a_terminal_nothing_is_asked_and_the_question_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = CliRunner().invoke(app, ["init", "wan22"])
    assert "question: the same pictures, faster; the other one: --question as-good" in said.stderr


def test_in_a_terminal_the_answer_decides(tmp_path: Path) -> None:
    master, terminal = pty.openpty()
    command = [sys.executable, "-m", "tstitch_search", "init", "sdxl"]
    with subprocess.Popen(command, cwd=tmp_path, stdin=terminal, stdout=subprocess.PIPE, stderr=terminal) as child:
        os.write(master, b"faster\nsame\n")  # what it does not know is asked again
        written, _ = child.communicate(timeout=HANG_S)
    assert child.returncode == 0, os.read(master, 10_000).decode()
    (study,) = [path for path in written.decode().split() if path.startswith("studies/hub/sdxl")]
    assert load_study(tmp_path / study).config.quality.objective == "ssim"


def test_the_files_name_every_key_with_its_meaning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(app, ["init"]).exit_code == 0
    for folder, model in (("studies", StudyConfig), ("search_spaces", SpaceConfig)):
        (path,) = (tmp_path / folder).glob("*.yaml")
        text = path.read_text()
        written, said = yaml.safe_load(text), " ".join(text.replace("#", " ").split())
        assert written == yaml.safe_load((ROOT / folder / path.name).read_text())
        sections = {key: getattr(f.annotation, "model_fields", None) for key, f in model.model_fields.items()}
        fields = [(model.model_fields, written), *((s, written.get(key, {})) for key, s in sections.items() if s)]
        named = {f.alias or key: f.description for section, _ in fields for key, f in section.items()}
        assert not [key for key in named if not re.search(rf"\b{key}:", text)]
        unset = [
            f.description or "" for section, own in fields for key, f in section.items() if (f.alias or key) not in own
        ]
        assert len(unset) > 5
        assert not [words for words in unset if " ".join(words.split()) not in said]


def test_the_default_is_the_quickstart_and_it_plans_in_an_empty_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(app, ["init"]).exit_code == 0
    said = CliRunner().invoke(app, ["plan", "studies/quickstart.yaml", "--json"])
    assert said.exit_code == 0, said.exception


def test_nothing_is_overwritten_and_an_unknown_family_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "search_spaces").mkdir()
    mine = tmp_path / "search_spaces" / "fashion_quickstart.yaml"
    mine.write_text("mine")
    said = CliRunner().invoke(app, ["init"])
    assert "search_spaces/fashion_quickstart.yaml is there already" in str(said.exception)
    assert mine.read_text() == "mine"
    assert not (tmp_path / "studies").exists()
    unknown = CliRunner().invoke(app, ["init", "fluxx"]).exception
    assert isinstance(unknown, ConfigError)
    assert "unknown family 'fluxx', expected one of quickstart, dit" in str(unknown)
    assert unknown.hint == "did you mean flux1?"


def test_two_families_start_in_one_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for family in ("sdxl", "flux1"):
        assert CliRunner().invoke(app, ["init", family]).exit_code == 0  # they share a file of prompts
    again = CliRunner().invoke(app, ["init", "sdxl"])
    assert again.exit_code == 0
    (tmp_path / "studies" / "hub" / "prompts.txt").write_text("mine")
    assert "prompts.txt is there already" in str(CliRunner().invoke(app, ["init", "sdxl"]).exception)


def test_a_file_in_a_pipelines_place_is_refused_with_how_to_make_one(tmp_path: Path) -> None:
    said = CliRunner().invoke(app, ["init", "--pipeline", str(tmp_path / "sdxl.safetensors")])
    assert "sdxl.safetensors is one file, expected a whole pipeline" in str(said.exception)


def test_the_wheel_brings_every_file_that_init_writes() -> None:
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    brought = {source: target for source, target in build["force-include"].items() if (ROOT / source).exists()}
    assert templates() == ROOT
    for start in Start:
        assert any(start.value == source or start.value.startswith(f"{source}/") for source in brought)
    assert all(target == f"tstitch_search/templates/{source}" for source, target in brought.items())


@pytest.mark.parametrize("name", ["sd3", "wan22", "flux"])
def test_a_study_of_any_other_pipeline_is_guessed_from_its_folder(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_pipeline(name, tmp_path / "models")
    know_positions(name, tmp_path / "models")
    monkeypatch.chdir(tmp_path)
    said = CliRunner().invoke(app, ["init", "--pipeline", "models"])
    assert said.exit_code == 0, said.exception
    study = load_study(tmp_path / "studies" / "models.yaml")
    expected = {"sd3": ["free", "L"], "wan22": ["LOW", "HIGH"], "flux": ["L"]}[name]
    assert list(study.space.names) == expected
    assert plan_study(study, tmp_path / "run", None, Silent()).n_allocations > 1


def test_a_folder_that_is_no_pipeline_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "model_index.json").write_text('{"_class_name": "UnCLIPPipeline"}')
    said = CliRunner().invoke(app, ["init", "--pipeline", "models"])
    assert "is a UnCLIPPipeline without a transformer or unet" in str(said.exception)
    assert not (tmp_path / "studies").exists()
