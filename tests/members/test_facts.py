"""What is known of members without loading them, and which members are refused."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from diffusers import AutoModel

from tstitch_search.config import load_space
from tstitch_search.config.models import DenoiserConfig
from tstitch_search.errors import ConfigError, EnvironmentProblem
from tstitch_search.members.facts import read_member_facts
from tstitch_search.members.weights import locate, weight_files, weights_sha256
from tstitch_search.sampling.space_check import check_space

WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture
def family(tiny_family: Path, tmp_path: Path) -> Path:
    """A copy of the tiny family to damage."""
    return Path(shutil.copytree(tiny_family, tmp_path / "family"))


def check(folder: Path) -> None:
    check_space(load_space(folder / "space.yaml"), folder)


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_facts_agree_with_the_loaded_model(tiny_family: Path) -> None:
    for name in ("S", "B", "XL", "U"):
        facts = read_member_facts(DenoiserConfig(name=name, weights=name), tiny_family)
        model = AutoModel.from_pretrained(str(tiny_family / name))
        assert facts.n_parameters == sum(p.numel() for p in model.parameters())
        assert facts.class_name == type(model).__name__
        assert (facts.in_channels, facts.out_channels, facts.sample_size, facts.n_classes) == (4, 4, 8, 10)
        assert facts.weights_sha256 is None


def test_the_hash_is_the_files_own_when_asked_for(tiny_family: Path) -> None:
    facts = read_member_facts(DenoiserConfig(name="S", weights="S"), tiny_family, with_hash=True)
    assert facts.weights_sha256 == hashlib.sha256((tiny_family / "S" / WEIGHTS).read_bytes()).hexdigest()


def test_a_sharded_member_counts_the_same_parameters_and_its_hash_covers_every_shard(family: Path) -> None:
    whole = read_member_facts(DenoiserConfig(name="XL", weights="XL"), family)
    AutoModel.from_pretrained(str(family / "XL")).save_pretrained(family / "sharded", max_shard_size="10KB")
    sharded = DenoiserConfig(name="XL", weights="sharded")
    files = weight_files(family / "sharded", "XL")
    assert len(files) > 1
    assert read_member_facts(sharded, family).n_parameters == whole.n_parameters
    before = weights_sha256(files)
    data = bytearray(files[-1].read_bytes())
    data[-1] ^= 1
    files[-1].write_bytes(data)
    assert weights_sha256(files) != before
    files[0].unlink()
    with pytest.raises(EnvironmentProblem, match=files[0].name):
        read_member_facts(sharded, family)


def test_members_of_one_family_fit_together(tiny_family: Path) -> None:
    assert list(check_space(load_space(tiny_family / "space.yaml"), tiny_family).members) == ["S", "B", "XL"]


@pytest.mark.parametrize("with_weights", [False, True])
def test_weights_that_are_not_in_a_folder_of_this_machine_are_missed(family: Path, with_weights: bool) -> None:
    (family / "S" / WEIGHTS).unlink()
    with pytest.raises(EnvironmentProblem, match=rf"denoiser 'S': the weights are not at .*{WEIGHTS}"):
        check_space(load_space(family / "space.yaml"), family, with_weights=with_weights)


@pytest.mark.parametrize(
    ("file", "values", "message"),
    [
        ("B/config.json", {"in_channels": 8}, "'B' has in_channels 8, but the VAE has latent_channels 4"),
        ("B/config.json", {"sample_size": 16}, "'B' has sample_size 16, but denoiser 'S' has 8"),
        ("B/config.json", {"out_channels": 6}, "'B' has out_channels 6, but denoiser 'S' has 4"),
        ("B/config.json", {"num_embeds_ada_norm": 1000}, "'B' has classes 1000, but the search space has n_classes 10"),
        ("vae/config.json", {"latent_channels": 16}, "'S' has in_channels 4, but the VAE has latent_channels 16"),
        ("B/config.json", {"in_channels": None}, "lacks in_channels"),
    ],
)
def test_members_of_another_latent_space_are_refused(family: Path, file: str, values: Any, message: str) -> None:
    change(family / file, **values)
    with pytest.raises(ConfigError, match=message):
        check(family)


@pytest.mark.parametrize(
    "values",
    [
        {"prediction_type": "epsilon"},
        {"beta_schedule": "linear"},
        {"num_train_timesteps": 500},
        {"beta_end": 0.012},
        {"beta_start": 0.00085},
    ],
)
@pytest.mark.parametrize("place", ["B/scheduler_config.json", "B/scheduler/scheduler_config.json"])
def test_a_member_trained_for_another_noise_process_is_refused(family: Path, place: str, values: Any) -> None:
    (family / place).parent.mkdir(exist_ok=True)
    shutil.copy(family / "scheduler" / "scheduler_config.json", family / place)
    check(family)
    change(family / place, **values)
    with pytest.raises(ConfigError, match=r"denoiser 'B' has noise process .*, but the pipeline's scheduler has"):
        check(family)


def break_config(folder: Path) -> None:
    (folder / "S" / "config.json").write_text("{not json")


def remove_config(folder: Path) -> None:
    (folder / "S" / "config.json").unlink()


def remove_scheduler(folder: Path) -> None:
    shutil.rmtree(folder / "scheduler")


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (break_config, ConfigError, r"denoiser 'S': .*config.json is not JSON"),
        (remove_config, EnvironmentProblem, r"denoiser 'S': cannot read .*config.json: No such file"),
        (remove_scheduler, EnvironmentProblem, r"the pipeline's scheduler: cannot read"),
    ],
)
def test_damaged_files_are_named_with_their_owner(
    family: Path, damage: Callable[[Path], None], error: type[Exception], message: str
) -> None:
    damage(family)
    with pytest.raises(error, match=message):
        check(family)


def test_an_embedded_member_that_is_not_there_is_named_with_its_place(tiny_family: Path) -> None:
    with pytest.raises(EnvironmentProblem, match=r"denoiser 'S': the embedded zoo:nowhere/S is not at .*nowhere.S"):
        read_member_facts(DenoiserConfig(name="S", weights="zoo:nowhere/S"), tiny_family)


HUB_PROGRAM = """
import sys
from pathlib import Path
from tstitch_search.config.models import DenoiserConfig, SpaceConfig
from tstitch_search.errors import EnvironmentProblem
from tstitch_search.members.facts import read_member_facts
from tstitch_search.members.pipeline_parts import pipeline_folder

member = DenoiserConfig(name="S", weights="someone/tiny", subfolder="transformer", revision=sys.argv[1])
space = SpaceConfig(
    name="tiny", family="dit", pipeline="someone/tiny", pipeline_revision=sys.argv[1], denoisers=[member], n_steps=4
)
for read in (
    lambda: read_member_facts(member, Path("."), with_weights=len(sys.argv) < 3),
    lambda: pipeline_folder(space, Path(".")),
):
    try:
        print(read())
    except EnvironmentProblem as error:
        print(error)
print("torch" in sys.modules)
"""


def run_offline(hub: Path, revision: str, *further: str) -> str:
    """What HUB_PROGRAM prints in a process without network whose hub cache is under `hub`."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(hub)}
    command = [sys.executable, "-c", HUB_PROGRAM, revision, *further]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


def test_hub_files_are_read_from_the_cache_at_their_revision_without_torch(tiny_family: Path, tmp_path: Path) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "hub" / "models--someone--tiny"
    shutil.copytree(tiny_family / "S", repository / "snapshots" / commit / "transformer")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    (repository / "refs" / "v1").write_text(commit)
    expected = read_member_facts(DenoiserConfig(name="S", weights="S"), tiny_family)
    printed = run_offline(tmp_path, "v1")
    assert f"n_parameters={expected.n_parameters}" in printed
    assert printed.endswith(f"snapshots/{commit}\nFalse\n")
    absent = run_offline(tmp_path, "other-branch")
    assert "denoiser 'S': 'someone/tiny' is neither the folder" in absent
    assert "the pipeline of tiny: 'someone/tiny' is neither the folder" in absent
    (repository / "snapshots" / commit / "transformer" / WEIGHTS).unlink()
    assert "n_parameters=None" in run_offline(tmp_path, "v1", "without weights")
    assert f"the weights are not at {repository}" in run_offline(tmp_path, "v1")


def test_an_embedded_member_that_is_misspelt_is_answered_with_those_that_are_there() -> None:
    with pytest.raises(
        EnvironmentProblem, match=r"the embedded zoo:fashion/XXL is not at .*; zoo:fashion has B, S, .*XL"
    ):
        locate("zoo:fashion/XXL", Path(), "denoiser 'XL'", ["config.json"])
