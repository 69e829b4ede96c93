"""What the files that ship mean, and what comes back from `load_study` and `json_schema`."""

import os
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from PIL import Image

from tstitch_search.config import Study, overridden, study_document
from tstitch_search.config.load import json_schema, load_space, load_study
from tstitch_search.config.models import QualityConfig
from tstitch_search.errors import ConfigError

ROOT = Path(__file__).parents[2]
STUDIES = sorted((ROOT / "studies").rglob("*.yaml"))
SPACES = sorted((ROOT / "search_spaces").glob("*.yaml"))
QUICKSTART = ROOT / "studies" / "small_first.yaml"
SPACE = ROOT / "search_spaces" / "fashion_dit_s_b_xl.yaml"


def write_study(folder: Path, text: str = "") -> Path:
    """The path of the smallest valid study in `folder`, with `text` added, beside a copy of the shipped space."""
    (folder / "space.yaml").write_text(SPACE.read_text())
    path = folder / "study.yaml"
    path.write_text(f"name: small\nsearch_space: space.yaml\nquality: {{reference: zoo:fashion}}\n{text}")
    return path


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_every_shipped_study_loads_and_is_named_like_its_file(path: Path, tmp_path: Path) -> None:
    """One under a ControlNet once its captions and edges, which it says how to get, are there."""
    overrides = []
    if "control_images: ../" in path.read_text():
        (tmp_path / "captions.txt").write_text("a cat\n" * 800)
        Image.new("RGB", (8, 8)).save(tmp_path / "0.png")
        for i in range(1, 800):
            os.link(tmp_path / "0.png", tmp_path / f"{i}.png")
        overrides = [f"proxy_set.prompts={tmp_path / 'captions.txt'}", f"proxy_set.control_images={tmp_path}"]
    assert load_study(path, overrides).config.name == path.stem


def test_every_shipped_search_space_has_a_study() -> None:
    spaces = [(path, yaml.safe_load(path.read_text())["search_space"]) for path in STUDIES]
    used = {(path.parent / space).resolve() for path, space in spaces if isinstance(space, str)}
    assert [path.name for path in SPACES if path.resolve() not in used] == []


@pytest.mark.parametrize("path", [path for path in SPACES if not path.name.startswith("fashion")], ids=lambda p: p.stem)
def test_a_space_of_hub_models_names_licence_and_traps_and_pins_commits_or_says_how(path: Path) -> None:
    text = path.read_text()
    comment = "".join(line for line in text.splitlines() if line.startswith("#")).lower()
    assert "licence" in comment or "cc by" in comment
    assert "trap" in comment
    space = yaml.safe_load(text)
    hub = [d for d in space["denoisers"] if d.get("format", "diffusers") == "diffusers" and "of" not in d]
    places = [d["weights"] + (f"@{d['revision']}" if "revision" in d else "") for d in hub] + [space["pipeline"]]
    unpinned = [p for p in places if not p.startswith("..") and not re.search("@[0-9a-f]{40}$", p)]
    assert not unpinned or "none was found" in comment.replace("# ", "")


@pytest.mark.parametrize("path", SPACES, ids=lambda path: path.stem)
def test_every_shipped_search_space_loads_and_is_named_like_its_file(path: Path) -> None:
    assert load_space(path).name == path.stem


def test_the_search_space_is_found_relative_to_the_study(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "space.yaml").write_text(SPACE.read_text())
    path = tmp_path / "inner" / "study.yaml"
    path.write_text("name: x\nsearch_space: ../space.yaml\nquality: {reference: zoo:fashion}\n")
    study = load_study(path)
    assert study.space == load_space(SPACE)
    assert study.space_path.samefile(tmp_path / "space.yaml")


def test_units_become_shares_and_seconds(tmp_path: Path) -> None:
    text = "focus: {latency_s: [250ms, 1.5m], max_fid_loss: 57%}\nsearch: {device_seconds: 2h}\n"
    config = load_study(write_study(tmp_path, text)).config
    assert config.focus.latency_s == (0.25, 90.0)
    assert config.focus.max_fid_loss == 0.57
    assert config.search.device_seconds == 7200.0


@pytest.mark.parametrize(("grid", "grid_steps"), [("10%", 2), ("0.1", 2), ("1", 1), ("5", 5), ("20", 20)])
def test_a_grid_is_a_share_of_the_steps_or_a_number_of_steps(grid: str, grid_steps: int) -> None:
    assert load_space(SPACE, [f"space.grid={grid}"]).grid_steps == grid_steps


@pytest.mark.parametrize("name", ["..", ".", "a/b", "/a", "", "-rf", "a\\b", ".hidden", "a b", "a\n", "x" * 101])
def test_a_study_name_cannot_climb_out_of_the_reports(tmp_path: Path, name: str) -> None:
    path = write_study(tmp_path)
    path.write_text(path.read_text().replace("small", yaml.safe_dump(name, default_style='"').strip()))
    with pytest.raises(ConfigError, match=r"study\.yaml:1: name: got "):
        load_study(path)


def test_a_problem_in_the_space_names_the_space_file_and_its_line(tmp_path: Path) -> None:
    path = write_study(tmp_path)
    (tmp_path / "space.yaml").write_text(SPACE.read_text().replace("n_steps: 20", "n_steps: 0"))
    line = SPACE.read_text().splitlines().index("n_steps: 20") + 1
    with pytest.raises(ConfigError, match=rf"space\.yaml:{line}: n_steps: got 0, expected at least 1") as caught:
        load_study(path)
    assert "study.yaml" not in caught.value.message


@pytest.mark.parametrize("path", [*STUDIES, *SPACES], ids=lambda path: path.stem)
def test_the_schema_accepts_what_ships(path: Path) -> None:
    kind = "study" if path in STUDIES else "space"
    jsonschema.validate(yaml.safe_load(path.read_text()), json_schema(kind))


def test_the_schema_accepts_units_and_refuses_unknown_keys(tmp_path: Path) -> None:
    text = "focus: {latency_s: [250ms, 90], max_fid_loss: 5%}\nsearch: {device_seconds: 2h}\n"
    document = yaml.safe_load(write_study(tmp_path, text).read_text())
    jsonschema.validate(document, json_schema("study"))
    with pytest.raises(jsonschema.ValidationError, match="colour"):
        jsonschema.validate(document | {"colour": "red"}, json_schema("study"))


@pytest.mark.parametrize("kind", ["study", "space"])
def test_the_schema_describes_every_key(kind: Any) -> None:
    schema = json_schema(kind)

    def described(value: dict[str, Any]) -> bool:
        model = schema["$defs"].get(value.get("$ref", "").removeprefix("#/$defs/"), {})
        return bool(value.get("description") or model.get("description"))

    assert schema["$schema"].startswith("https://json-schema.org/")
    assert schema["title"] == f"tstitch-search {kind}"
    keys = [
        (model["title"], key, value)
        for model in [schema, *schema["$defs"].values()]
        for key, value in model["properties"].items()
    ]
    assert [(title, key) for title, key, value in keys if not described(value)] == []


def test_a_study_built_in_python_is_that_of_the_file(tmp_path: Path) -> None:
    written = yaml.safe_load(QUICKSTART.read_text())
    assert Study(**written, folder=QUICKSTART.parent) == load_study(QUICKSTART).model_copy(
        update={"study_path": QUICKSTART.parent / "study.yaml"}
    )
    in_objects = {
        "search_space": load_space(QUICKSTART.parent / written["search_space"], needs_models=True),
        "quality": QualityConfig(**written["quality"]),
        "latency": {**written["latency"], "error": "5%"},
    }
    built = Study(**{**written, **in_objects}, folder=tmp_path)
    assert built.space == load_study(QUICKSTART).space
    assert built.config.quality == load_study(QUICKSTART).config.quality
    assert built.config.latency.error == 0.05


def test_a_study_built_wrongly_in_python_is_one_message_that_names_the_key() -> None:
    written = yaml.safe_load(QUICKSTART.read_text())
    with pytest.raises(ConfigError, match=r"Study: quality\.n_images: .*whole number(.|\n)*unknown key colour"):
        Study(**{**written, "quality": {"n_images": "many", "reference": "zoo:fashion"}}, colour="red")
    with pytest.raises(ConfigError, match="Study: got <object"):
        Study(**{**written, "guidance_scale": object()})


def test_overriding_a_loaded_study_gives_that_of_the_overridden_file(tmp_path: Path) -> None:
    settings = ["quality.n_images=200", "space.grid=0.5"]
    by_file, by_object = load_study(QUICKSTART, settings), overridden(load_study(QUICKSTART), settings)
    assert by_object.config.quality == by_file.config.quality
    assert by_object.space == by_file.space
    assert study_document(by_object, tmp_path) == study_document(by_file, tmp_path)
    assert by_object.overrides == tuple(settings)
