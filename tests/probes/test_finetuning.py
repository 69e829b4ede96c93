"""Training a member on: what it learns from, what changes, and that the same is trained twice."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler, DiTTransformer2DModel, FlowMatchEulerDiscreteScheduler
from torch import nn

from tstitch_search.config.models import DenoiserConfig
from tstitch_search.errors import ConfigError
from tstitch_search.members.facts import read_member_facts
from tstitch_search.members.formats.class_conditional import ClassConditionalUNet
from tstitch_search.members.loading import load_model
from tstitch_search.members.noise_process import NoiseProcess
from tstitch_search.probes.finetuning import Training, process_of, train
from tstitch_search.probes.labelled_images import ImageArray, LabelledImages
from tstitch_search.zoo.objective import LabelledLatents, Process, denoising_loss
from tstitch_search.zoo.trainer import Recipe

CPU = torch.device("cpu")
COSINE = NoiseProcess(beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction")
RECIPE = Recipe(n_steps=6, batch_size=4, learning_rate=1e-2, weight_decay=0.0)
NULL = 10


@pytest.fixture
def training(tiny_family: Path) -> Callable[..., Training]:
    """Training of a member of the tiny family, or of the one in `folder`."""
    rng = np.random.default_rng(0)
    images = ImageArray(rng.integers(0, 256, (30, 32, 32), dtype=np.uint8))
    labelled = LabelledImages(images, rng.integers(0, 10, 30))

    def of(name: str, folder: Path = tiny_family, seed: int = 0, recipe: Recipe = RECIPE) -> Training:
        member = read_member_facts(DenoiserConfig(name=name, weights=name), folder)
        return Training(member, COSINE, ((600, 999),), tiny_family / "vae", labelled, recipe, seed)

    return of


def trained(training: Training, work: Path) -> dict[str, torch.Tensor]:
    """The weights that training leaves, as they are loaded again."""
    work.mkdir(exist_ok=True)
    train(training, work, CPU, 500, lambda n: None, lambda *at: None)
    return load_model(work / "saved", CPU, torch.float32).state_dict()


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
def test_a_process_noises_and_asks_as_diffusers_training_does(prediction_type: str) -> None:
    scheduler = DDPMScheduler(beta_schedule="squaredcos_cap_v2", prediction_type=prediction_type)
    process = process_of(NoiseProcess.of(scheduler.config))
    clean, noise, t = torch.randn(5, 4, 8, 8), torch.randn(5, 4, 8, 8), torch.tensor([0, 3, 500, 997, 999])
    alpha, sigma = (share[t].reshape(-1, 1, 1, 1) for share in (process.alpha, process.sigma))
    torch.testing.assert_close(alpha * clean + sigma * noise, scheduler.add_noise(clean, noise, t), rtol=0, atol=2e-3)
    wanted = {"epsilon": noise, "sample": clean, "v_prediction": scheduler.get_velocity(clean, noise, t)}
    found = process.target(clean, noise, alpha, sigma)
    torch.testing.assert_close(found, wanted[prediction_type], rtol=0, atol=2e-3)


def test_flow_matching_noises_as_diffusers_does_and_asks_for_the_way_from_image_to_noise() -> None:
    scheduler = FlowMatchEulerDiscreteScheduler()
    process = process_of(NoiseProcess.of({**scheduler.config, "_class_name": "FlowMatchEulerDiscreteScheduler"}))
    clean, noise, t = torch.randn(2, 4, 8, 8), torch.randn(2, 4, 8, 8), scheduler.timesteps[[0, 300]]
    alpha, sigma = (share[t.long()].reshape(-1, 1, 1, 1) for share in (process.alpha, process.sigma))
    torch.testing.assert_close(alpha * clean + sigma * noise, scheduler.scale_noise(clean, t, noise))
    torch.testing.assert_close(process.target(clean, noise, alpha, sigma), noise - clean)


def test_an_unknown_noise_schedule_is_refused() -> None:
    with pytest.raises(ConfigError, match="sigmoid"):
        process_of(NoiseProcess(beta_schedule="sigmoid"))


class Listener(nn.Module):
    """Answers nothing but zeros, and keeps what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.timesteps: list[int] = []
        self.labels: list[int] = []

    def forward(self, latents: torch.Tensor, timestep: torch.Tensor, class_labels: torch.Tensor) -> Any:
        self.timesteps += timestep.tolist()
        self.labels += class_labels.tolist()
        return SimpleNamespace(sample=torch.zeros_like(latents))


def test_all_timesteps_of_the_intervals_are_asked_and_no_others_and_a_tenth_has_no_label() -> None:
    data = LabelledLatents(torch.randn(40, 8, 2, 2), torch.full((40,), 7), NULL)
    flat = Process(torch.ones(1000), torch.zeros(1000), lambda clean, noise, alpha, sigma: clean)
    timesteps, heard = torch.cat([torch.arange(10, 20), torch.arange(900, 910)]), Listener()
    loss = denoising_loss(data, flat, timesteps, "cpu")
    for seed in range(50):
        loss(heard, torch.arange(40), torch.Generator().manual_seed(seed))
    assert set(heard.timesteps) == set(timesteps.tolist())
    assert set(heard.labels) == {7, NULL}
    assert heard.labels.count(NULL) / len(heard.labels) == pytest.approx(0.1, abs=0.03)  # n = 2,000: 4 sigma are 0.027


def test_training_changes_the_member_and_no_file_of_the_family(training, tiny_family: Path, tmp_path: Path) -> None:
    files = sorted(path for path in tiny_family.rglob("*") if path.is_file())
    before = [path.read_bytes() for path in files]
    weights = load_model(tiny_family / "S", CPU, torch.float32).state_dict()
    after = trained(training("S"), tmp_path / "work")
    assert weights.keys() == after.keys()
    assert not same(weights, after)
    assert [path.read_bytes() for path in files] == before


def test_equal_seeds_give_equal_bits_and_other_seeds_others(training, tmp_path: Path) -> None:
    first, again, other = (trained(training("S", seed=s), tmp_path / f"{i}") for i, s in enumerate((0, 0, 1)))
    assert same(first, again)
    assert not same(first, other)


def test_a_unet_is_trained_like_a_transformer(training, tiny_family: Path, tmp_path: Path) -> None:
    assert not same(load_model(tiny_family / "U", CPU, torch.float32).state_dict(), trained(training("U"), tmp_path))


def test_a_class_conditional_unet_without_a_null_class_always_sees_labels(training, tmp_path: Path) -> None:
    unet = {
        "block_out_channels": (4, 4),
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "layers_per_block": 1,
        "attention_head_dim": 4,
        "norm_num_groups": 4,
        "cross_attention_dim": 6,
    }
    before = ClassConditionalUNet(unet, 10, sample_size=8, null_seed=0)
    before.save_pretrained(tmp_path / "S")
    after = trained(training("S", tmp_path), tmp_path / "work")
    assert not torch.equal(before.embedder.weight, after["embedder.weight"])
    assert torch.equal(before.null, after["null"])


def test_outputs_of_a_learned_variance_are_left_alone(training, tmp_path: Path) -> None:
    with torch.random.fork_rng(devices=[]):
        DiTTransformer2DModel(
            num_attention_heads=1,
            attention_head_dim=8,
            num_layers=1,
            sample_size=8,
            in_channels=4,
            out_channels=8,
            num_embeds_ada_norm=10,
        ).save_pretrained(tmp_path / "S")
    before = load_model(tmp_path / "S", CPU, torch.float32).state_dict()
    after = trained(training("S", tmp_path), tmp_path / "work")
    for key in ("proj_out_2.weight", "proj_out_2.bias"):  # rows are (patch, patch, channel)
        old, new = (weights[key].unflatten(0, (-1, 8)) for weights in (before, after))
        assert torch.equal(old[:, 4:], new[:, 4:])
        assert not torch.equal(old[:, :4], new[:, :4])


def test_a_loss_that_is_no_number_ends_the_training_with_a_word(training, tmp_path: Path) -> None:
    hopeless = training("S")
    hopeless = replace(hopeless, recipe=replace(RECIPE, learning_rate=1e30, n_steps=400))
    with pytest.raises(ConfigError, match="learning-rate"):
        trained(hopeless, tmp_path)
