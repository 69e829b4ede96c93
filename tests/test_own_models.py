"""The guide to one's own models is tried as it stands, on tiny models of the same kind in the same places."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from members.checkpoint_files import dit_weights
from PIL import Image
from text_to_image import N_TOKENS, PROMPTS, letter_tokenizer, new_unet, new_vae, save_stable_diffusion
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel
from typer.testing import CliRunner

from tstitch_search import LookupTable
from tstitch_search.cli import app

GUIDE = (Path(__file__).parent.parent / "docs" / "your-own-models.md").read_text()

# The same study for a moment on a CPU.
SMALL = {
    "proxy_set.chunk_size": 10,
    "quality.n_images": 20,
    "search.n_trials": 3,
    "confirm": "{n_images: 20, max_entries: 2}",
    "latency": "{batch_size: 1, n_repeats: 3, threads: 1}",
    "workers": "{pool: inline, n_workers: 1, device: cpu, dtype: float32}",
    "quality.extractor": "fashion-cnn",
    "space.fewer_steps": "[]",
    "space.n_steps": 5,
    "space.grid": 1,
}


def write_files_of_the_guide(kind: str, folder: Path) -> None:
    for name in ("space", "study"):
        (block,) = re.findall(rf"`{kind}/{name}.yaml`\n\n```yaml\n(.*?)```", GUIDE, re.S)
        (folder / f"{name}.yaml").write_text(block)


def command(*arguments: object, **settings: object) -> str:
    options = [part for key, value in {**SMALL, **settings}.items() for part in ("--set", f"{key}={value}")]
    said = CliRunner().invoke(app, [*map(str, arguments), *options])
    assert said.exit_code == 0, f"{said.output}\n{said.exception}"
    return said.output


@pytest.fixture
def two_dits(tmp_path: Path) -> Path:
    """Checkpoints as facebookresearch/DiT saves them, what they share, and real images."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for name, layers in (("S", 1), ("XL", 3)):
            torch.save(dit_weights(layers=layers, classes=1000), tmp_path / f"DiT-{name}.pt")
        new_vae().save_pretrained(tmp_path / "shared" / "vae")
    DDIMScheduler(clip_sample=False).save_pretrained(tmp_path / "shared" / "scheduler")
    (tmp_path / "real_images").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (70, 32, 32, 3), dtype=np.uint8)
    for i, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / "real_images" / f"{i}.png")
    write_files_of_the_guide("dit", tmp_path)
    return tmp_path


@pytest.fixture
def two_sds(tmp_path: Path) -> Path:
    """A pipeline and a smaller U-Net as save_pretrained leaves them, prompts, and a CLIP."""
    save_stable_diffusion(tmp_path / "my-model")
    with torch.random.fork_rng(devices=[]):
        new_unet(3, 12).save_pretrained(tmp_path / "my-model" / "unet")
        new_unet(1, 4).save_pretrained(tmp_path / "my-small-unet")
        save_clip(tmp_path / "openai" / "clip-vit-large-patch14")
    (tmp_path / "prompts.txt").write_text("\n".join(PROMPTS * 8))
    write_files_of_the_guide("sd", tmp_path)
    return tmp_path


def save_clip(folder: Path) -> None:
    """A CLIP of random weights."""
    words = letter_tokenizer()
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = {"vocab_size": len(words), "max_position_embeddings": N_TOKENS, "eos_token_id": words.eos_token_id}
    torch.manual_seed(0)
    config = CLIPConfig(
        text_config={**sizes, **text, "bos_token_id": words.bos_token_id, "pad_token_id": words.eos_token_id},
        vision_config={**sizes, "image_size": 16, "patch_size": 4},
        projection_dim=8,
        initializer_factor=5.0,
    )
    CLIPModel(config).save_pretrained(folder)
    words.save_pretrained(folder)
    CLIPImageProcessor(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}).save_pretrained(folder)


@pytest.mark.slow
def test_two_dit_checkpoints_end_with_a_table(two_dits: Path) -> None:
    study, run = two_dits / "study.yaml", two_dits / "run"
    assert "S with XL: " in command("check", study)
    assert "my_dit" in command("plan", study, "-o", run)
    command("run", study, "-o", run)
    table = LookupTable.read(run / "lookup.json")
    assert {name for entry in table.entries for name in entry.allocation.steps} <= {"S", "XL"}
    assert {entry.allocation.n_steps for entry in table.entries} == {5}
    assert table.objective.name == "fid"


@pytest.mark.slow
def test_two_stable_diffusion_checkpoints_end_with_a_table(two_sds: Path) -> None:
    study, run = two_sds / "study.yaml", two_sds / "run"
    assert "small with large: " in command("check", study)
    assert "my_sd" in command("plan", study, "-o", run)
    command("run", study, "-o", run)
    table = LookupTable.read(run / "lookup.json")
    assert {name for entry in table.entries for name in entry.allocation.steps} <= {"small", "large"}
    assert table.objective.name == "clip_score"
    assert table.provenance["guard"]["reference"] == "anchor"
