"""DiT and U-ViT on one trajectory (the paper's table 5): other architectures, and other noise schedules."""

import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, DiTPipeline
from members.checkpoint_files import dit_answer, dit_weights, uvit_weights

from tstitch_search.allocation import Allocation
from tstitch_search.config import load_space
from tstitch_search.errors import ConfigError
from tstitch_search.members.loading import load_members, load_model
from tstitch_search.members.noise_process import NoiseProcess
from tstitch_search.members.noise_schedule import matching_timesteps
from tstitch_search.sampling.conditions import Condition
from tstitch_search.sampling.families import dit
from tstitch_search.sampling.space_check import check_space, conversions

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

CPU = torch.device("cpu")
SPACE = """\
name: tiny
family: dit
pipeline: .
n_classes: 10
denoisers:
  - {name: S, weights: DiT-S.pt, format: dit}
  - {name: H, weights: uvit.pth, format: uvit}
n_steps: 4
convert: true
"""
STABLE_DIFFUSION = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}


@pytest.fixture(scope="module")
def folder(tiny_family: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DiT of 64 channels with learned variances and a U-ViT of 128, as their files; U-ViT's schedule solves."""
    folder = tmp_path_factory.mktemp("dit_uvit")
    torch.manual_seed(0)
    torch.save(dit_weights(64), folder / "DiT-S.pt")
    torch.save(uvit_weights(128), folder / "uvit.pth")
    shutil.copytree(tiny_family / "vae", folder / "vae")
    DDIMScheduler(clip_sample=False, **STABLE_DIFFUSION).save_pretrained(folder / "scheduler")
    (folder / "space.yaml").write_text(SPACE)
    return folder


def load(folder: Path, allocation: str, **options: Any) -> DiTPipeline:
    space = load_space(folder / "space.yaml").model_copy(update=options)
    facts = check_space(space, folder)
    members, _ = load_members(facts.members, CPU, torch.float32)
    denoiser = dit.stitch(members)
    denoiser.set_allocation(Allocation.parse(allocation))
    pipeline = dit.load_pipeline(space, folder, denoiser, load_model(folder / "vae", CPU, torch.float32))
    for name, adapter in conversions(facts).items():
        denoiser.adapt(name, adapter)
    return pipeline


def sample(pipeline: DiTPipeline) -> torch.Tensor:
    conditions, generators = [Condition(i) for i in range(3)], [torch.Generator().manual_seed(i) for i in range(3)]
    return dit.sample(pipeline, conditions, generators, n_steps=4, guidance_scale=1.5)


@pytest.mark.parametrize("solver", [None, "DPMSolverMultistepScheduler"])
def test_both_take_their_steps(folder: Path, solver: str | None) -> None:
    images = [sample(load(folder, text, solver=solver)) for text in ("S*4", "H*4", "S*2-H*2", "H*2-S*2")]
    assert all(i.shape == (3, 1, 32, 32) and torch.isfinite(i).all() for i in images)
    assert all(not torch.equal(a, b) for a, b in itertools.combinations(images, 2))


def test_only_the_member_of_another_schedule_is_converted(folder: Path) -> None:
    facts = check_space(load_space(folder / "space.yaml"), folder)
    assert list(conversions(facts)) == ["S"]
    assert facts.members["H"].own.noise == NoiseProcess.of(STABLE_DIFFUSION)


def test_the_dit_is_asked_at_its_own_timestep_of_the_same_log_snr(folder: Path) -> None:
    """Its noise end lies beyond U-ViT's, so U-ViT's last timestep, 999, is an earlier one of DiT's."""
    pipeline = load(folder, "S*4")
    pipeline.scheduler.set_timesteps(4)  # a trajectory begins
    x, labels = torch.randn(2, 4, 8, 8), torch.tensor([3, 1000])
    theirs = matching_timesteps(NoiseProcess.of(STABLE_DIFFUSION), NoiseProcess())
    assert 600 < theirs[999] < 800
    for t in (0, 400, 999):
        answer = pipeline.transformer(x, timestep=torch.tensor([t, t]), class_labels=labels).sample
        at = torch.full((2,), float(theirs[t]))
        expected = dit_answer(torch.load(folder / "DiT-S.pt"), x, at, torch.tensor([3, 10]))[:, :4]
        torch.testing.assert_close(answer, expected, rtol=1e-4, atol=1e-4)


def test_without_convert_another_schedule_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"'S' has noise process .* other amounts of noise") as caught:
        load(folder, "S*4", convert=False)
    assert "convert: true" in str(caught.value.hint)


@pytest.mark.parametrize("scheduler", ["FlowMatchEulerDiscreteScheduler", "unknown betas"])
def test_a_process_without_known_betas_is_refused_whatever_the_space_says(
    folder: Path, tmp_path: Path, scheduler: str
) -> None:
    other = Path(shutil.copytree(folder, tmp_path / "other"))
    config = {"_class_name": scheduler, "beta_schedule": "sigmoid"}
    (other / "scheduler" / "scheduler_config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match="'S' has noise process"):
        check_space(load_space(other / "space.yaml"), other)
