"""Weights that are none, half there or named otherwise: refused before anything is loaded, saying what the file is."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from diffusers import AutoModel
from typer.testing import CliRunner

from tstitch_search.cli import app
from tstitch_search.config import load_space
from tstitch_search.errors import EnvironmentProblem
from tstitch_search.sampling.space_check import check_space

WEIGHTS = "diffusion_pytorch_model.safetensors"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 134000\n"
PAGE = b"\n<!DOCTYPE html>\n<html><body>Sign in to download</body></html>"


@pytest.fixture
def family(tiny_family: Path, tmp_path: Path) -> Path:
    """A copy of the tiny family to damage."""
    return Path(shutil.copytree(tiny_family, tmp_path / "family"))


def content(damage: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    """Damage to the file of weights of a folder."""
    return lambda folder: (folder / WEIGHTS).write_bytes(damage((folder / WEIGHTS).read_bytes())) and None


def only_a_variant(folder: Path) -> None:
    (folder / WEIGHTS).rename(folder / "diffusion_pytorch_model.fp16.safetensors")


def shards(folder: Path) -> list[Path]:
    """The folder's weights anew in several files."""
    AutoModel.from_pretrained(str(folder)).save_pretrained(folder, max_shard_size="10KB")
    (folder / WEIGHTS).unlink()
    found = sorted(folder.glob("*.safetensors"))
    assert len(found) > 2
    return found


def half_downloaded(folder: Path) -> None:
    last = shards(folder)[-1]
    last.rename(last.with_name(last.name + ".incomplete"))


def a_shard_twice(folder: Path) -> None:
    first, second, *_ = shards(folder)
    shutil.copy(first, second)


def a_torn_shard(folder: Path) -> None:
    first, *_ = shards(folder)
    first.write_bytes(first.read_bytes()[:-1])


DAMAGES = [
    pytest.param(content(lambda _: POINTER), f"{WEIGHTS} is a Git LFS pointer", id="pointer"),
    pytest.param(content(lambda _: PAGE), f"{WEIGHTS} is a web page", id="page"),
    pytest.param(content(lambda _: b""), f"{WEIGHTS} is empty", id="empty"),
    pytest.param(content(lambda whole: whole[:-1]), f"{WEIGHTS} is damaged or cut off: its [0-9,]+ bytes", id="torn"),
    pytest.param(content(lambda whole: whole[:100]), f"{WEIGHTS} is damaged or cut off: its 100 bytes", id="header"),
    pytest.param(content(lambda whole: whole + b"x"), f"{WEIGHTS} is damaged", id="longer"),
    pytest.param(content(lambda _: b"\xff" * 8 + b"{}"), f"{WEIGHTS} is damaged", id="huge length"),
    pytest.param(content(lambda _: b"\x02" + b"\0" * 7 + b"[]"), f"{WEIGHTS} is damaged", id="no header"),
    pytest.param(only_a_variant, "holds no plain weights, but variant 'fp16'; expected", id="variant"),
    pytest.param(half_downloaded, "1 of [0-9]+ parts of the weights are missing, the first is .*-of-", id="shard gone"),
    pytest.param(a_shard_twice, "no file in .* holds .*, which its index names", id="shard twice"),
    pytest.param(a_torn_shard, "-of-.* is damaged or cut off", id="shard torn"),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGES)
@pytest.mark.parametrize("part", ["B", "vae"])
def test_check_refuses_what_cannot_be_loaded(
    family: Path, part: str, damage: Callable[[Path], None], message: str
) -> None:
    damage(family / part)
    owner = "denoiser 'B'" if part == "B" else "the VAE"
    with pytest.raises(EnvironmentProblem, match=f"^{owner}: .*{message}") as refused:
        check_space(load_space(family / "space.yaml"), family, with_weights=False)
    assert refused.value.hint


def test_whole_weights_in_parts_pass(family: Path) -> None:
    shards(family / "B")
    shards(family / "vae")
    found = check_space(load_space(family / "space.yaml"), family, with_weights=False)
    model = AutoModel.from_pretrained(str(family / "B"))
    assert found.members["B"].n_parameters == sum(p.numel() for p in model.parameters())


def test_the_command_says_it_in_one_message(family: Path) -> None:
    (family / "B" / WEIGHTS).write_bytes(POINTER)
    said = CliRunner().invoke(app, ["check", str(family / "study.yaml")])
    assert isinstance(said.exception, EnvironmentProblem)
    assert "git lfs pull" in said.exception.hint
