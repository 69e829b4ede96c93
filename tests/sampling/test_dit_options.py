"""What the released DiT does and a stock pipeline does not: learned variances, guidance on three channels."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DDPMScheduler,
    DiTPipeline,
    DiTTransformer2DModel,
)

from tstitch_search.allocation import Allocation
from tstitch_search.config import load_space
from tstitch_search.errors import ConfigError
from tstitch_search.members.loading import load_members, load_model
from tstitch_search.sampling.conditions import Condition
from tstitch_search.sampling.families import dit
from tstitch_search.sampling.space_check import check_space

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

CPU = torch.device("cpu")
N_STEPS, SCALE = 4, 2.5
LABELS = [3, 7, 1]
SOLVERS = (None, "DDPMScheduler", "DPMSolverMultistepScheduler")

SPACE = """\
name: tiny
family: dit
pipeline: .
denoisers: [{name: S, weights: S}, {name: B, weights: B}, {name: XL, weights: XL}]
n_steps: 4
"""


@pytest.fixture(scope="module")
def folder(tiny_family: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three DiTs with 1000 classes that learned their variances, saved as the hub's are; the tiny family's VAE."""
    folder = tmp_path_factory.mktemp("dit")
    torch.manual_seed(0)
    for name, heads, layers in (("S", 1, 1), ("B", 2, 1), ("XL", 2, 2)):
        DiTTransformer2DModel(heads, 8, 4, 8, layers, sample_size=8, num_embeds_ada_norm=1000).save_pretrained(
            folder / name
        )
    shutil.copytree(tiny_family / "vae", folder / "vae")
    DDIMScheduler(clip_sample=False).save_pretrained(folder / "scheduler")
    (folder / "space.yaml").write_text(SPACE)
    return folder


def load(folder: Path, allocation: str, **options: Any) -> DiTPipeline:
    space = load_space(folder / "space.yaml").model_copy(update=options)
    members, _ = load_members(check_space(space, folder).members, CPU, torch.float32)
    denoiser = dit.stitch(members)
    denoiser.set_allocation(Allocation.parse(allocation))
    return dit.load_pipeline(space, folder, denoiser, load_model(folder / "vae", CPU, torch.float32))


def sample(pipeline: DiTPipeline, scale: float = SCALE) -> torch.Tensor:
    conditions = [Condition(label) for label in LABELS]
    return dit.sample(pipeline, conditions, generators(), n_steps=N_STEPS, guidance_scale=scale)


def generators() -> list[torch.Generator]:
    return [torch.Generator().manual_seed(i) for i in range(len(LABELS))]


@torch.no_grad()
def original_loop(folder: Path, scheduler: Any, n_guided: int, n_given: int) -> torch.Tensor:
    """Images of XL by the released code's rule: the first `n_guided` channels guided, `n_given` given to the solver."""
    model, noise = DiTTransformer2DModel.from_pretrained(folder / "XL").eval(), generators()
    x = torch.cat([torch.randn(1, 4, 8, 8, generator=generator) for generator in noise])
    scheduler.set_timesteps(N_STEPS)
    for t in scheduler.timesteps:
        labelled = model(x, t.expand(3), torch.tensor(LABELS)).sample
        unlabelled = model(x, t.expand(3), torch.tensor([1000] * 3)).sample
        guided = unlabelled + SCALE * (labelled - unlabelled)
        output = torch.cat([guided[:, :n_guided], labelled[:, n_guided:]], dim=1)[:, :n_given]
        # the pipeline's batch is twice as large, and so is the number of draws from each image's generator
        step = {"generator": noise * 2} if isinstance(scheduler, DDPMScheduler) else {}
        x = scheduler.step(torch.cat([output] * 2), t, torch.cat([x] * 2), **step).prev_sample[:3]
    vae = AutoencoderKL.from_pretrained(folder / "vae")
    return (vae.decode(x / vae.config.scaling_factor).sample / 2 + 0.5).clamp(0, 1)


@pytest.mark.parametrize("solver", SOLVERS)
def test_alone_a_member_makes_what_the_stock_pipeline_makes_of_it(folder: Path, solver: str | None) -> None:
    """Bit-equal, learned variances being dropped as the stock pipeline drops them."""
    stitched = load(folder, "XL*4", solver=solver)
    stock = DiTPipeline(
        transformer=DiTTransformer2DModel.from_pretrained(folder / "XL").eval(),
        vae=AutoencoderKL.from_pretrained(folder / "vae"),
        scheduler=type(stitched.scheduler).from_config(stitched.scheduler.config),
    )
    stock.set_progress_bar_config(disable=True)
    assert torch.equal(sample(stitched), sample(stock))


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("allocation", ["S*2-XL*2", "S*1-B*2-XL*1"])
@pytest.mark.parametrize("guided_channels", [None, 3])
def test_two_and_three_members_generate(
    folder: Path, solver: str | None, allocation: str, guided_channels: int | None
) -> None:
    images = sample(load(folder, allocation, solver=solver, guided_channels=guided_channels))
    assert images.shape == (3, 1, 32, 32)
    assert 0 <= images.min() < images.max() <= 1


@pytest.mark.parametrize("n_guided", [3, 1, 4])
def test_guidance_on_some_channels_is_that_of_the_released_code(folder: Path, n_guided: int) -> None:
    """Within 2e-6 of the rule written out; with all four channels it is the stock pipeline's."""
    images = sample(load(folder, "XL*4", guided_channels=n_guided))
    expected = original_loop(folder, DDIMScheduler(clip_sample=False), n_guided, n_given=4)
    assert (images - expected).abs().max() < 2e-6
    assert torch.equal(images, sample(load(folder, "XL*4"))) == (n_guided == 4)


def test_without_guidance_the_option_changes_nothing(folder: Path) -> None:
    plain = sample(load(folder, "S*2-XL*2"), scale=1.0)
    assert torch.equal(sample(load(folder, "S*2-XL*2", guided_channels=3), scale=1.0), plain)


@pytest.mark.parametrize("n_guided", [3, 4])
def test_ddpm_takes_the_learned_variance(folder: Path, n_guided: int) -> None:
    options = {"solver": "DDPMScheduler", "guided_channels": n_guided}
    images = sample(load(folder, "XL*4", learned_variance=True, **options))
    scheduler = DDPMScheduler(clip_sample=False, variance_type="learned_range")
    assert (images - original_loop(folder, scheduler, n_guided, n_given=8)).abs().max() < 2e-6
    assert not torch.equal(images, sample(load(folder, "XL*4", **options)))


def test_the_learned_variance_is_each_members_own(folder: Path) -> None:
    options = {"solver": "DDPMScheduler", "learned_variance": True}
    stitched, alone = load(folder, "S*2-XL*2", **options), load(folder, "S*4", **options)
    assert not torch.equal(sample(stitched), sample(alone))
    assert stitched.transformer.members[2].config.out_channels == 8


@pytest.mark.parametrize("text", ["guided_channels: 3", "learned_variance: true"])
def test_the_options_are_dits_own(tmp_path: Path, text: str) -> None:
    (tmp_path / "space.yaml").write_text(SPACE.replace("family: dit", "family: ldm") + text + "\n")
    with pytest.raises(ConfigError, match=r"space\.yaml:6: .* for the family ldm, expected it for dit only"):
        load_space(tmp_path / "space.yaml")


def test_learned_variance_needs_a_solver_and_denoisers_that_have_it(folder: Path, tiny_family: Path) -> None:
    with pytest.raises(ConfigError, match=r"learned_variance: got DDIMScheduler and .* expected DDPMScheduler and 8"):
        load(folder, "XL*4", learned_variance=True)
    with pytest.raises(ConfigError, match="a largest denoiser of 4 output channels, expected DDPMScheduler and 8"):
        load(tiny_family, "XL*4", learned_variance=True, solver="DDPMScheduler")
