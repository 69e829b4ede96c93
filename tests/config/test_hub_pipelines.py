"""Every shipped study of a modern pipeline is planned and checked on a tiny folder of the same class."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from sampling.saved_pipelines import know_positions, save_pipeline

from tstitch_search.config import Study, load_study
from tstitch_search.config.models.denoiser import LoraConfig
from tstitch_search.progress import Silent
from tstitch_search.sampling.pipeline_class import class_of, require_drivable
from tstitch_search.tasks.plan import plan_study

ROOT = Path(__file__).parents[2]
# By study, the tiny pipeline of its class.
TINY = {
    "sd35_medium_turbo_large": "sd3",
    "flux1_schnell_dev": "flux",
    "z_image_turbo": "z_image",
    "pixart_sigma": "pixart_sigma",
    "wan21_1_3b_14b": "wan",
    "wan22_a14b": "wan22",
    "cogvideox_5b": "cogvideox",
    "ltx_video_2b": "ltx",
    "flux2_klein_4b": "flux2_klein",
    "qwen_image_lightning": "qwen_image",
    "sdxl_few_step_loras": "sdxl",
    "wan22_a14b_lightning": "wan22",
    "hunyuan_video15_480p": "hunyuan_video15",
    "kandinsky5_lite": "kandinsky5",
}


def tiny_lora(folder: Path, member: str, name: str) -> LoraConfig:
    """A LoRA on the first attention layer of the member."""
    with safe_open(Path(member) / "diffusion_pytorch_model.safetensors", "pt") as weights:
        layer = next(key for key in weights.keys() if key.endswith("to_q.weight"))  # noqa: SIM118
        n_out, n_in = weights.get_slice(layer).get_shape()
    kind = json.loads((Path(member) / "config.json").read_text())["_class_name"]
    slot, layer = "unet" if "UNet" in kind else "transformer", layer.removesuffix(".weight")
    halves = {"lora_A": torch.ones(2, n_in), "lora_B": torch.ones(n_out, 2)}
    file = folder / f"{name}.safetensors"
    save_file({f"{slot}.{layer}.{half}.weight": value for half, value in halves.items()}, file)
    return LoraConfig(weights=str(file))


def on(study: Study, folder: Path) -> Study:
    """The study with tiny members in its members' place, those of the same weights the same ones."""
    sources = list(dict.fromkeys(d.source for d in study.space.denoisers))
    tiny = {source: str(folder / "SBL"[3 - len(sources) + i]) for i, source in enumerate(sources)}
    members = [
        d.model_copy(
            update={
                "weights": tiny[d.source],
                "subfolder": None,
                "revision": None,
                "lora": tuple(tiny_lora(folder, tiny[d.source], d.name) for _ in d.lora),
            }
        )
        for d in study.space.denoisers
    ]
    space = study.space.model_copy(update={"pipeline": str(folder), "denoisers": tuple(members)})
    return study.model_copy(update={"space": space})


@pytest.mark.parametrize("name", TINY)
def test_a_shipped_study_plans_on_a_tiny_pipeline_of_its_class(name: str, tmp_path: Path) -> None:
    folder = save_pipeline(TINY[name], tmp_path / "tiny")
    know_positions(TINY[name], folder)
    overrides = ["workers.device=cpu", "execution.vae=null"]
    study = on(load_study(ROOT / "studies" / "hub" / f"{name}.yaml", overrides), folder)
    assert plan_study(study, tmp_path / "run", None, Silent()).n_allocations > 10
    require_drivable(study.space, class_of(study.space, tmp_path), [])
