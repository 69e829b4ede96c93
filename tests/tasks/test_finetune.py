"""From a table's entry to a trained member: what is refused before anything is trained, and what is left."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tstitch_search.allocation import Allocation
from tstitch_search.config import load_study
from tstitch_search.errors import ConfigError, TStitchError
from tstitch_search.lookup import LookupTable
from tstitch_search.progress import Silent
from tstitch_search.tasks.check import check_study
from tstitch_search.tasks.finetune import Finetuned, Wanted, finetune

GOLDEN = Path(__file__).parents[1] / "golden" / "lookup_v1.json"
S_FIRST = Allocation.parse("S*2-XL*2")


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of the tiny family's, of one entry."""
    golden = LookupTable.read(GOLDEN)
    entry = golden.entries[0].to_json(golden.objective) | {"allocation": str(S_FIRST), "steps": {"S": 2, "XL": 2}}
    entry["fractions"] = {"S": 0.5, "XL": 0.5}
    document = golden.to_json() | {"entries": [entry], "candidates": []}
    path = tmp_path_factory.mktemp("table") / "lookup.json"
    LookupTable.from_json(document).write(path)
    return path


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Twelve images of three classes."""
    rng = np.random.default_rng(0)
    for i in range(12):
        place = tmp_path / "images" / f"{i % 3:03d}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (32, 32), dtype=np.uint8)).save(place / f"{i}.png")
    return tmp_path / "images"


def wanted(images: Path, **changes: object) -> Wanted:
    return Wanted(
        **{"member": "S", "data": str(images), "n_iterations": 3, "batch_size": 4, "learning_rate": 1e-2, "seed": 0}
        | changes
    )


def train(table: Path, family: Path, what: Wanted, output: Path, allocation: Allocation = S_FIRST) -> Finetuned:
    return finetune(table, allocation, what, output, Silent(), family / "study.yaml")


def test_the_folder_is_a_member_that_a_study_can_name_and_its_record_says_where_it_comes_from(
    table: Path, tiny_family: Path, images: Path, tmp_path: Path
) -> None:
    made = train(table, tiny_family, wanted(images), tmp_path / "S_tuned")
    assert made.is_new
    names = {path.name for path in made.folder.iterdir()}
    assert names == {"config.json", "diffusion_pytorch_model.safetensors", "scheduler_config.json", "finetune.json"}
    record = json.loads((made.folder / "finetune.json").read_text())
    assert record == made.record
    assert record["settings"]["timesteps"] == [[749, 999]]  # DDIM, trailing, 4 steps: 999, 749, 499, 249
    assert record["n_images"] == 12
    assert len(record["training"]["losses_every_1"]) == 3

    shutil.copytree(tiny_family, tmp_path / "family")
    space = tmp_path / "family" / "space.yaml"
    space.write_text(space.read_text().replace("weights: S}", f"weights: {made.folder}}}"))
    assert check_study(load_study(tmp_path / "family" / "study.yaml")).problem is None


def test_asked_again_it_trains_nothing_and_with_other_settings_it_refuses(
    table: Path, tiny_family: Path, images: Path, tmp_path: Path
) -> None:
    output = tmp_path / "S_tuned"
    first = train(table, tiny_family, wanted(images), output)
    before = {path: path.stat().st_mtime_ns for path in output.iterdir()}
    again = train(table, tiny_family, wanted(images, save_every=7), output)
    assert not again.is_new
    assert again.record == first.record
    assert {path: path.stat().st_mtime_ns for path in output.iterdir()} == before
    with pytest.raises(ConfigError, match=r"seed: 0 there, 1 now"):
        train(table, tiny_family, wanted(images, seed=1), output)
    (images / "000" / "0.png").unlink()
    with pytest.raises(ConfigError, match="data_sha256"):
        train(table, tiny_family, wanted(images), output)


@pytest.mark.parametrize(
    ("changes", "allocation", "text"),
    [
        ({}, "S*1-XL*3", r"holds no S\*1-XL\*3"),
        ({"member": "B"}, "S*2-XL*2", "gives no step to 'B'"),
        ({"data": "nowhere"}, "S*2-XL*2", "no folder"),
        ({"data": "{tmp}/empty"}, "S*2-XL*2", "holds no images"),
        ({"data": "{tmp}/flat"}, "S*2-XL*2", "has no label"),
        ({"data": "{tmp}/beyond"}, "S*2-XL*2", "of class 10, expected 0 to 9"),
        ({"data": "{tmp}/large"}, "S*2-XL*2", "16 x 16 pixels"),
    ],
)
def test_what_cannot_be_trained_is_said_before_a_folder_is_made(
    table: Path, tiny_family: Path, tmp_path: Path, changes: dict[str, str], allocation: str, text: str
) -> None:
    for place, size in (("empty", None), ("flat", 32), ("beyond/10", 32), ("large/3", 16)):
        (tmp_path / place).mkdir(parents=True)
        if size:
            Image.new("L", (size, size)).save(tmp_path / place / "0.png")
    what = wanted(tmp_path / "flat", **{key: value.format(tmp=tmp_path) for key, value in changes.items()})
    with pytest.raises(ConfigError, match=text):
        train(table, tiny_family, what, tmp_path / "out", Allocation.parse(allocation))
    assert not (tmp_path / "out").exists()


def test_a_folder_of_something_else_is_left_alone(table: Path, tiny_family: Path, images: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigError, match="something else"):
        train(table, tiny_family, wanted(images), tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]
    (tmp_path / "mine" / "thesis.txt").rename(tmp_path / "mine" / "training")
    with pytest.raises(ConfigError, match="something else"):
        train(table, tiny_family, wanted(images), tmp_path / "mine")


def test_killed_in_the_first_moment_it_begins_again(
    table: Path, tiny_family: Path, images: Path, tmp_path: Path
) -> None:
    (tmp_path / "out" / "training").mkdir(parents=True)
    (tmp_path / "out" / "finetune.begun.json.partial").write_text('{"mem')
    assert train(table, tiny_family, wanted(images), tmp_path / "out").is_new
    assert not (tmp_path / "out" / "training").exists()


def test_a_variant_is_trained_on_and_quantised_weights_are_refused(
    table: Path, tiny_family: Path, images: Path, tmp_path: Path
) -> None:
    family = Path(shutil.copytree(tiny_family, tmp_path / "family"))
    stem, space = family / "S" / "diffusion_pytorch_model", family / "space.yaml"
    stem.with_suffix(".safetensors").rename(stem.with_suffix(".ema.safetensors"))
    space.write_text(space.read_text().replace("weights: S}", "weights: S, variant: ema}"))
    made = train(table, family, wanted(images), tmp_path / "tuned")
    again = train(table, tiny_family, wanted(images), tmp_path / "plain")
    assert (made.is_new, again.is_new) == (True, True)
    saved = [(tmp_path / name / f"{stem.name}.safetensors").read_bytes() for name in ("tuned", "plain")]
    assert saved[0] == saved[1]
    config = json.loads((family / "S" / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "torchao"}
    (family / "S" / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match=r"'S' has quantised weights \(torchao\), which cannot be trained on"):
        train(table, family, wanted(images), tmp_path / "out")


def test_members_that_draw_from_prompts_are_not_supported_yet(table: Path, images: Path, tmp_path: Path) -> None:
    study = Path(__file__).parents[2] / "studies" / "hub" / "sd14_bk_sdm.yaml"
    with pytest.raises(ConfigError, match="not supported yet"):
        finetune(table, S_FIRST, wanted(images), tmp_path / "out", Silent(), study)


@pytest.mark.parametrize(
    "changes",
    [{"n_iterations": 0}, {"batch_size": 0}, {"learning_rate": 0.0}, {"learning_rate": float("nan")}, {"seed": -1}],
)
def test_settings_out_of_range_are_refused(images: Path, changes: dict[str, object]) -> None:
    with pytest.raises(TStitchError):
        wanted(images, **changes)
