"""The DiT family's adapter: a stock pipeline from a space file, and images that depend on nothing but themselves."""

from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, DiTPipeline, DPMSolverMultistepScheduler

from tstitch_search.allocation import Allocation
from tstitch_search.config import load_space
from tstitch_search.errors import ConfigError
from tstitch_search.members.loading import load_members, load_model
from tstitch_search.sampling.conditions import Condition
from tstitch_search.sampling.families import dit, family_of
from tstitch_search.sampling.space_check import check_space

# diffusers' solvers hand torch tensors to numpy the old way.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

CPU = torch.device("cpu")


def load(folder: Path, solver: str | None = None, allocation: str = "S*2-XL*2") -> DiTPipeline:
    space = load_space(folder / "space.yaml").model_copy(update={"solver": solver})
    assert family_of(space) is dit
    members, _ = load_members(check_space(space, folder).members, CPU, torch.float32)
    denoiser = dit.stitch(members)
    denoiser.set_allocation(Allocation.parse(allocation))
    return dit.load_pipeline(space, folder, denoiser, load_model(folder / "vae", CPU, torch.float32))


def sample(pipeline: DiTPipeline, images: list[int], guidance: float = 1.5) -> torch.Tensor:
    generators = [torch.Generator().manual_seed(i) for i in images]
    return dit.sample(pipeline, [Condition(i % 10) for i in images], generators, n_steps=4, guidance_scale=guidance)


def levels(images: torch.Tensor) -> torch.Tensor:
    return (images * 255).round().int()


def test_it_is_a_stock_pipeline_that_makes_images_between_0_and_1(tiny_family: Path) -> None:
    pipeline = load(tiny_family)
    assert type(pipeline) is DiTPipeline
    assert type(pipeline.vae) is AutoencoderKL
    assert isinstance(pipeline.scheduler, DDIMScheduler)
    images = sample(pipeline, [0, 1, 2])
    assert images.shape == (3, 1, 32, 32)
    assert 0 <= images.min() < images.max() <= 1


def test_sampling_shows_no_progress_bar(tiny_family: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pipeline = load(tiny_family)
    capfd.readouterr()
    sample(pipeline, [0])
    assert capfd.readouterr() == ("", "")


def test_the_spaces_solver_takes_the_schedulers_place(tiny_family: Path) -> None:
    pipeline = load(tiny_family, "DPMSolverMultistepScheduler")
    assert isinstance(pipeline.scheduler, DPMSolverMultistepScheduler)
    assert not torch.equal(sample(pipeline, [0]), sample(load(tiny_family), [0]))


@pytest.mark.parametrize("solver", [None, "DPMSolverMultistepScheduler", "DDPMScheduler", "LCMScheduler"])
@pytest.mark.parametrize("guidance", [1.5, 1.0])
def test_an_image_is_the_same_in_whatever_batch_it_is_made(
    tiny_family: Path, solver: str | None, guidance: float
) -> None:
    """Solvers that add noise in each step included: DDPM, LCM."""
    pipeline = load(tiny_family, solver)
    whole = levels(sample(pipeline, [0, 1, 2, 3, 4], guidance))
    assert not torch.equal(whole[0], whole[1])
    parts = [levels(sample(pipeline, part, guidance)) for part in ([0], [1, 2], [3, 4])]
    assert (torch.cat(parts) - whole).abs().max() <= 1
    assert (levels(sample(pipeline, [4, 2], guidance)) - whole[[4, 2]]).abs().max() <= 1


@pytest.mark.parametrize("solver", ["DDPMScheduler", "LCMScheduler"])
def test_step_noise_is_each_images_own_and_not_the_processs(tiny_family: Path, solver: str) -> None:
    pipeline = load(tiny_family, solver)
    torch.manual_seed(1)
    first = sample(pipeline, [0, 1])
    torch.manual_seed(2)
    state = torch.get_rng_state()
    assert torch.equal(sample(pipeline, [0, 1]), first)
    assert torch.equal(torch.get_rng_state(), state)


def test_sampling_leaves_the_solver_as_it_was(tiny_family: Path) -> None:
    pipeline = load(tiny_family, "DDPMScheduler")
    step = pipeline.scheduler.step
    sample(pipeline, [0])
    assert pipeline.scheduler.step == step
    assert "step" not in vars(pipeline.scheduler)


@pytest.mark.parametrize("solver", ["EulerDiscreteScheduler", "HeunDiscreteScheduler"])
def test_a_solver_that_starts_from_other_noise_than_the_pipeline_is_refused(tiny_family: Path, solver: str) -> None:
    with pytest.raises(ConfigError, match=f"{solver} starts from noise of scale .*, expected a solver that starts"):
        load(tiny_family, solver)
