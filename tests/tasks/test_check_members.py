"""What a member cannot be is refused by `check` in one message with what to do, before anything is loaded."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from sampling.saved_pipelines import save_pipeline
from text_to_image import PROMPTS
from typer.testing import CliRunner

from tstitch_search.cli import app
from tstitch_search.errors import ConfigError, EnvironmentProblem, TStitchError

STUDY = """\
name: tiny
search_space: space.yaml
guidance_scale: {scale}
proxy_set: {{prompts: prompts.txt, chunk_size: 2}}
quality: {{objective: inception_score, n_images: 20}}
confirm: {{n_images: 20}}
workers: {{pool: inline, n_workers: 1, device: cpu}}
"""
SPACE = "name: tiny\npipeline: .\nn_steps: 4\n{call}denoisers:\n  - {{name: S, weights: S}}\n{listed}"


def lora(layer: str, width: int) -> dict[str, torch.Tensor]:
    return {f"{layer}.lora_A.weight": torch.ones(2, width), f"{layer}.lora_B.weight": torch.ones(width, 2)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = save_pipeline("stable_diffusion", tmp_path_factory.mktemp("members"))
    (folder / "prompts.txt").write_text("\n".join(PROMPTS * 8))
    layer = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
    save_file(lora(f"unet.{layer}", 64), folder / "wide.safetensors")
    save_file(lora("transformer.transformer_blocks.0.attn.to_q", 8), folder / "flux.safetensors")
    save_file(lora("unet.mid_block.nowhere", 8), folder / "other.safetensors")
    return folder


def checked(folder: Path, *members: str, scale: float = 5, call: str = "") -> TStitchError:
    """What `check` says of the members beside S."""
    listed = "".join(f"  - {{{member}}}\n" for member in members)
    (folder / "space.yaml").write_text(SPACE.format(listed=listed, call=call))
    (folder / "study.yaml").write_text(STUDY.format(scale=scale))
    said = CliRunner().invoke(app, ["check", str(folder / "study.yaml")])
    assert isinstance(said.exception, TStitchError), said.exception
    assert said.exception.hint
    assert len(said.exception.message.splitlines()) == 1
    return said.exception


LARGE = "name: L, weights: L"


@pytest.mark.parametrize(
    ("member", "message"),
    [
        ("lora: [{weights: wide.safetensors}]", "which takes"),
        ("lora: [{weights: flux.safetensors}]", "is about a transformer, and this denoiser is a unet"),
        ("lora: [{weights: other.safetensors}]", "unet.mid_block.nowhere, which this denoiser does not have"),
        (
            "lora: [{weights: wide.safetensors, adapter: a}, {weights: other.safetensors, adapter: a}]",
            "got the adapters a, a, expected each name only once",
        ),
        ("accelerator: {first_block: {}}", "diffusers has no hooks for caches in its UNet2DConditionModel"),
        ("accelerator: {first_block: {treshold: 0.1}}", "did you mean threshold"),
        ("accelerator: {}", "got none; {} behind its name stands for its defaults, expected one of first_block"),
    ],
)
def test_a_member_that_cannot_be_is_refused(folder: Path, member: str, message: str) -> None:
    error = checked(folder, f"name: X, of: L, {member}", LARGE)
    assert isinstance(error, ConfigError)
    assert message in error.message


def test_weights_in_a_circle_are_refused(folder: Path) -> None:
    said = checked(folder, "name: X, of: Y", "name: Y, of: X", LARGE).message
    assert "got the circle X of Y of X, expected one of them to name its weights" in said


def test_guidance_without_an_unconditional_half_is_refused(folder: Path) -> None:
    said = checked(folder, "name: X, of: L, guidance_scale: 3", LARGE, scale=1).message
    assert "denoiser 'X' has guidance_scale 3, but the study's is 1: its pipeline would ask for no uncond" in said


def test_guidance_that_the_denoiser_takes_no_input_for_is_refused(tmp_path: Path) -> None:
    folder = save_pipeline("flux", tmp_path)
    (folder / "prompts.txt").write_text("\n".join(PROMPTS * 8))
    for name in "SL":
        config = folder / name / "config.json"
        config.write_text(json.dumps({**json.loads(config.read_text()), "guidance_embeds": False}))
    said = checked(folder, "name: X, of: L, guidance_scale: 1", LARGE, call="call: {height: 16, width: 16}\n").message
    assert "which means nothing to it: FluxPipeline gives guidance as an input, which this denoiser does not" in said


def test_guidance_of_a_pipeline_that_is_not_known_to_guide_is_refused(folder: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(folder, tmp_path / "other"))
    index = other / "model_index.json"
    index.write_text(json.dumps({**json.loads(index.read_text()), "_class_name": "StableDiffusionPAGPipeline"}))
    said = checked(other, "name: X, of: L, guidance_scale: 1", LARGE).message
    assert "members of their own guidance_scale: how StableDiffusionPAGPipeline guides is not known" in said


def test_quantised_weights_are_refused_on_a_device_that_cannot_run_them(folder: Path) -> None:
    error = checked(folder, "name: X, of: L, quantization: {bitsandbytes_4bit: {}}", LARGE)
    assert isinstance(error, EnvironmentProblem)
    assert "'X': quantization bitsandbytes_4bit() needs an NVIDIA GPU, and this study runs on the CPU" in error.message
