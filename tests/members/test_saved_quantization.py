"""Weights that were quantised and saved: loaded they are what was saved."""

import shutil
from pathlib import Path

import pytest
import torch
from diffusers import TorchAoConfig, UNet2DConditionModel
from sampling.test_deploy_as_studied import TEXT_STUDY, by_prompts, studied, study_in, text_pipeline
from text_to_image import PROMPTS, new_unet, save_stable_diffusion

from tstitch_search.measure.memory import tensors_mb
from tstitch_search.tasks.check import check_study

INSTALL = "torchao is not installed; uv run --group torchao pytest -W default tests/members/test_saved_quantization.py"
torchao = pytest.importorskip("torchao.quantization", reason=INSTALL)


@pytest.mark.filterwarnings("ignore")
def test_a_member_of_saved_int8_weights_answers_as_before_it_was_saved(tiny_family: Path, tmp_path: Path) -> None:
    save_stable_diffusion(tmp_path)
    (tmp_path / "prompts.txt").write_text("\n".join(PROMPTS * 8))
    for name in ("features.safetensors", "reference.npz"):
        shutil.copy(tiny_family / name, tmp_path / name)
    new_unet(3, 32).save_pretrained(tmp_path / "plain")
    config = TorchAoConfig(torchao.Int8WeightOnlyConfig())
    model = UNet2DConditionModel.from_pretrained(
        tmp_path / "plain", quantization_config=config, torch_dtype=torch.float32
    )
    model.save_pretrained(tmp_path / "saved")
    listed = ["name: Q, weights: saved", "name: free, of: Q, guidance_scale: 1", "name: P, weights: plain"]
    study = study_in(tmp_path, TEXT_STUDY, listed, family="stable_diffusion")
    assert check_study(study).problem is None
    made = studied(study, "Q*4")
    linear = sum(m.weight.numel() for m in model.modules() if isinstance(m, torch.nn.Linear))
    saved_mb = tensors_mb([new_unet(3, 32)]) - tensors_mb([model])
    assert saved_mb == pytest.approx(3e-6 * linear, rel=0.1)  # one byte a value instead of four, and scales
    assert torch.equal(made, by_prompts(text_pipeline(tmp_path, model), study))
    plain = UNet2DConditionModel.from_pretrained(tmp_path / "plain")
    assert not torch.equal(made, by_prompts(text_pipeline(tmp_path, plain), study))
    assert len(studied(study, "Q*1-free*2-P*1")) == len(made)
