"""SDXL under a ControlNet: a stock pipeline, control images that count, members that have to be as wide as it."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionXLControlNetPipeline
from PIL import Image
from text_to_image import PROMPTS, new_sdxl_unet, save_sdxl_controlnet

from tstitch_search.allocation import Allocation
from tstitch_search.config import load_space
from tstitch_search.errors import ConfigError, EnvironmentProblem
from tstitch_search.members.loading import load_members, load_model
from tstitch_search.sampling.conditions import Condition
from tstitch_search.sampling.families import family_of
from tstitch_search.sampling.space_check import check_space

# diffusers' solvers hand torch tensors to numpy the old way.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = save_sdxl_controlnet(tmp_path_factory.mktemp("controlnet"))
    for name, colour in (("red", (255, 0, 0)), ("blue", (0, 0, 255))):
        Image.new("RGB", (40, 40), colour).save(folder / f"{name}.png")
    return folder


def load(folder: Path) -> Any:
    space = load_space(folder / "space.yaml")
    members, _ = load_members(check_space(space, folder).members, CPU, torch.float32)
    family = family_of(space)
    return family.load_pipeline(space, folder, family.stitch(members), load_model(folder / "vae", CPU, torch.float32))


def draw(folder: Path, pipeline: Any, allocation: str, controls: tuple[str, ...] = ("red", "blue")) -> torch.Tensor:
    pipeline.unet.set_allocation(Allocation.parse(allocation))
    conditions = [Condition(0, PROMPTS[i], None, folder / f"{name}.png") for i, name in enumerate(controls)]
    generators = [torch.Generator().manual_seed(i) for i in range(len(controls))]
    return family_of(load_space(folder / "space.yaml")).sample(pipeline, conditions, generators, 4, 3.0)


def test_all_steps_to_one_member_is_bit_equal_to_the_stock_pipeline(folder: Path) -> None:
    pipeline = load(folder)
    assert type(pipeline) is StableDiffusionXLControlNetPipeline
    made = draw(folder, pipeline, "B*4")
    scheduler = type(pipeline.scheduler).from_config(pipeline.scheduler.config)
    unet = load_model(folder / "B", CPU, torch.float32)
    plain = StableDiffusionXLControlNetPipeline(**{**pipeline.components, "unet": unet, "scheduler": scheduler})
    plain.set_progress_bar_config(disable=True)
    expected = plain(
        PROMPTS[:2],
        image=[Image.open(folder / f"{name}.png").resize((32, 32)) for name in ("red", "blue")],
        guidance_scale=3.0,
        num_inference_steps=4,
        generator=[torch.Generator().manual_seed(i) for i in range(2)],
        output_type="pt",
    ).images
    assert made.shape == (2, 3, 32, 32)
    assert torch.equal(made, expected)


def test_several_members_share_it_and_the_control_image_counts(folder: Path) -> None:
    pipeline = load(folder)
    mixed = draw(folder, pipeline, "S*2-L*2")
    assert torch.isfinite(mixed).all()
    assert not torch.equal(mixed, draw(folder, pipeline, "L*4"))
    swapped = draw(folder, pipeline, "S*2-L*2", ("blue", "red"))
    assert not torch.equal(mixed[0], swapped[0])


def test_a_member_of_other_widths_is_refused_when_the_pipeline_is_put_together(folder: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(folder, tmp_path / "other"))
    new_sdxl_unet(1, 4).save_pretrained(other / "S")
    with pytest.raises(ConfigError, match=r"denoiser 'S' has blocks of \[4, 4\] .*, but the ControlNet, .* \[8, 8\]"):
        load(other)


def test_a_space_without_its_controlnet_is_refused(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    path.write_text((folder / "space.yaml").read_text().replace("controlnet: controlnet", ""))
    with pytest.raises(ConfigError, match="controlnet is missing"):
        load_space(path, needs_models=True)


@pytest.mark.parametrize("part", ["controlnet", "text_encoder_2"])
def test_check_refuses_shared_parts_whose_weights_are_none(folder: Path, tmp_path: Path, part: str) -> None:
    damaged = Path(shutil.copytree(folder, tmp_path / "damaged"))
    (file,) = (damaged / part).glob("*.safetensors")
    file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 9\n")
    with pytest.raises(EnvironmentProblem, match=f"(ControlNet|{part}): .*{file.name} is a Git LFS pointer"):
        check_space(load_space(damaged / "space.yaml"), damaged, with_weights=False)
