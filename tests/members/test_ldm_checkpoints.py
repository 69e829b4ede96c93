"""LDM's own checkpoints (.ckpt): read safely, and as members that answer as the originals do."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from members.ldm_checkpoint import CLASSES, UNET, as_trained, ldm_answer, ldm_weights
from members.vq_checkpoint import vq_decode, vq_weights

from tstitch_search.allocation import Allocation
from tstitch_search.config import load_space
from tstitch_search.errors import ConfigError
from tstitch_search.members.formats import ldm_first_stage as first_stage
from tstitch_search.members.formats.checkpoint_models import load_checkpoint
from tstitch_search.members.formats.checkpoints import NOISE, read_checkpoint
from tstitch_search.members.formats.class_conditional import NO_LABEL, ClassConditionalUNet
from tstitch_search.members.loading import load_members, load_model
from tstitch_search.members.noise_process import NoiseProcess
from tstitch_search.members.weights import read_json
from tstitch_search.sampling.conditions import Condition
from tstitch_search.sampling.families import ldm
from tstitch_search.sampling.space_check import check_space

CPU = torch.device("cpu")
SPACE = """\
name: tiny
family: ldm
pipeline: .
denoisers: [{name: S, weights: ldm_s.ckpt, format: ldm}, {name: L, weights: ldm.ckpt, format: ldm}]
n_steps: 2
solver: DDIMScheduler
"""
T = torch.tensor([0.0, 37.5, 999.0])
LABELS = torch.tensor([3, 0, 999])
# The two published layouts in small: VQ-f8 (T-Stitch's LDM-S, LDM), heads of 32 channels everywhere and no null class;
# VQ-f4 (cin256-v2), one head, none at the finest resolution, class 1000 is the null class.
KINDS = {
    "vq-f8": ({}, {32: 1, 64: 2}),
    "vq-f4": ({"in_channels": 3, "attends": (False, True), "classes": 1001, "layers": 2}, {32: 1, 64: 1}),
}


@pytest.fixture(params=sorted(KINDS))
def kind(request: pytest.FixtureRequest) -> tuple[dict[str, torch.Tensor], dict[int, int]]:
    torch.manual_seed(0)
    options, n_heads = KINDS[request.param]
    return ldm_weights(**options), n_heads


def saved(path: Path, value: Any) -> Path:
    torch.save(value, path)
    return path


def question(weights: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.randn(3, weights[f"{UNET}.out.2.bias"].numel(), 8, 8, generator=torch.Generator().manual_seed(3))


@torch.no_grad()
def test_it_answers_as_the_original_architecture(tmp_path: Path, kind: Any) -> None:
    """Largest difference 1e-5 of the largest value (float32, other order of sums)."""
    weights, n_heads = kind
    model, x = load_checkpoint(saved(tmp_path / "ldm.ckpt", as_trained(weights)), "ldm"), question(weights)
    assert type(model) is ClassConditionalUNet
    expected = ldm_answer(weights, x, T, weights[CLASSES][LABELS], n_heads)
    assert expected.std() > 0.3
    assert (model(x, T, LABELS).sample - expected).abs().max() < 1e-5 * max(1, float(expected.abs().max()))


@torch.no_grad()
def test_no_label_is_the_last_of_1001_classes_and_seeded_noise_beside_1000(tmp_path: Path, kind: Any) -> None:
    weights, n_heads = kind
    model, x = load_checkpoint(saved(tmp_path / "ldm.ckpt", as_trained(weights)), "ldm"), question(weights)
    noise = torch.rand(6, generator=torch.Generator().manual_seed(0))
    null = noise if len(weights[CLASSES]) == 1000 else weights[CLASSES][1000]
    expected = ldm_answer(weights, x, T, null.expand(3, -1), n_heads)
    answer = model(x, T, torch.tensor([NO_LABEL] * 3)).sample
    assert (answer - expected).abs().max() < 1e-5 * max(1, float(expected.abs().max()))


@torch.no_grad()
def test_without_averages_the_weights_themselves_are_taken(tmp_path: Path, kind: Any) -> None:
    weights, n_heads = kind
    model, x = load_checkpoint(saved(tmp_path / "ldm.ckpt", {"state_dict": weights}), "ldm"), question(weights)
    expected = ldm_answer(weights, x, T, weights[CLASSES][LABELS], n_heads)
    assert (model(x, T, LABELS).sample - expected).abs().max() < 1e-5 * max(1, float(expected.abs().max()))


def test_the_file_is_described_without_being_loaded(tmp_path: Path, kind: Any) -> None:
    weights, _ = kind
    file = saved(tmp_path / "ldm.ckpt", as_trained(weights))
    found, model = read_checkpoint(file, "ldm"), load_checkpoint(file, "ldm")
    assert found.class_name == "ClassConditionalUNet"
    assert {key: model.config[key] for key in found.config} == dict(found.config)
    assert found.n_parameters == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(("width", "context", "millions"), [(64, 256, 25), (256, 512, 394)], ids=["LDM-S", "LDM"])
def test_the_published_sizes_have_the_published_numbers_of_parameters(
    tmp_path: Path, width: int, context: int, millions: int
) -> None:
    """LDM-S's and LDM's U-Nets in whole millions: T-Stitch, arXiv 2402.14167, table 4. Only shapes are saved."""
    with torch.device("meta"):
        weights = ldm_weights(width=width, multiples=(1, 2, 4), attends=(True,) * 3, context=context, layers=2)
    shapes = {key: torch.zeros(1).expand(value.shape) for key, value in weights.items()}
    found = read_checkpoint(saved(tmp_path / "ldm.ckpt", shapes), "ldm")
    assert (found.n_parameters - 1000 * context) // 10**6 == millions
    assert (found.config["sample_size"], found.config["in_channels"], found.config["null_seed"]) == (32, 4, 0)
    assert found.config["unet_config"]["attention_head_dim"] == [width // 32, width // 16, width // 8]


def test_callbacks_that_lightning_names_by_class_are_let_through_and_do_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lightning before 1.6 wrote {ModelCheckpoint: its state}, and loading that runs nothing of Lightning."""
    module = ModuleType("pytorch_lightning.callbacks.model_checkpoint")
    module.ModelCheckpoint = type("ModelCheckpoint", (), {"__module__": module.__name__})
    weights = ldm_weights()
    with monkeypatch.context() as patched:
        for name in ("pytorch_lightning", "pytorch_lightning.callbacks", module.__name__):
            patched.setitem(sys.modules, name, module)
        callbacks = {module.ModelCheckpoint: {"best_model_score": torch.tensor(0.2), "current_score": None}}
        file = saved(tmp_path / "ldm.ckpt", {**as_trained(weights), "callbacks": callbacks})
    assert read_checkpoint(file, "ldm").config["num_class_embeds"] == 1000
    loaded = load_checkpoint(file, "ldm")
    assert torch.equal(loaded.embedder.weight, weights[CLASSES])


def test_a_checkpoint_that_lacks_a_layer_or_is_another_is_refused(tmp_path: Path) -> None:
    weights = ldm_weights()
    del weights[f"{UNET}.middle_block.0.emb_layers.1.bias"]
    with pytest.raises(ConfigError, match=r"broken.ckpt does not fit the format 'ldm': Error.* in loading state_dict"):
        load_checkpoint(saved(tmp_path / "broken.ckpt", weights), "ldm")
    with pytest.raises(ConfigError, match=r"holds no weights named '.*', expected a checkpoint of format 'ldm'"):
        read_checkpoint(saved(tmp_path / "other.ckpt", {"state_dict": {"a": torch.zeros(1)}}), "ldm")


@torch.no_grad()
@pytest.mark.parametrize("whole", [False, True], ids=["the first stage's own", "a whole LDM's"])
def test_the_first_stage_becomes_a_pipelines_vae_and_decodes_as_the_original(tmp_path: Path, whole: bool) -> None:
    torch.manual_seed(0)
    weights = vq_weights()
    named = {f"first_stage_model.{key}": value for key, value in weights.items()} if whole else weights
    first_stage.main(saved(tmp_path / "model.ckpt", {"state_dict": named}), tmp_path)
    vae, z = load_model(tmp_path / "vae", CPU, torch.float32), torch.randn(2, 4, 4, 4)
    expected = vq_decode(weights, z)
    assert expected.shape == (2, 3, 8, 8)
    assert (vae.decode(z).sample - expected).abs().max() < 1e-5 * max(1, float(expected.abs().max()))
    assert vae.config.scaling_factor == 1
    assert NoiseProcess.of(read_json(tmp_path / "scheduler" / "scheduler_config.json", "it")) == NOISE["ldm"]


def test_what_is_no_first_stage_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"ldm.ckpt holds no first stage of an LDM: 'quantize.embedding.weight'"):
        first_stage.load_first_stage(saved(tmp_path / "ldm.ckpt", ldm_weights()))


def test_two_checkpoints_and_a_first_stage_are_a_search_space(tmp_path: Path) -> None:
    """As search_spaces/ldm_s_ldm.yaml has them; a member of VQ-f4's latents is refused beside them."""
    for name, width in (("ldm_s", 32), ("ldm", 64)):
        saved(tmp_path / f"{name}.ckpt", as_trained(ldm_weights(width=width, context=width // 4)))
    first_stage.main(saved(tmp_path / "model.ckpt", {"state_dict": vq_weights()}), tmp_path)
    (tmp_path / "space.yaml").write_text(SPACE)
    space = load_space(tmp_path / "space.yaml")
    members, _ = load_members(check_space(space, tmp_path).members, CPU, torch.float32)
    denoiser = ldm.stitch(members)
    denoiser.set_allocation(Allocation.parse("S*1-L*1"))
    pipeline = ldm.load_pipeline(space, tmp_path, denoiser, load_model(tmp_path / "vae", CPU, torch.float32))
    noise = [torch.Generator().manual_seed(i) for i in range(2)]
    images = ldm.sample(pipeline, [Condition(3), Condition(7)], noise, n_steps=2, guidance_scale=3.0)
    assert images.shape == (2, 3, 64, 64)
    saved(tmp_path / "ldm_s.ckpt", ldm_weights(in_channels=3, classes=1001))
    with pytest.raises(ConfigError, match="'S' has in_channels 3, but the VAE has latent_channels 4"):
        check_space(space, tmp_path)
