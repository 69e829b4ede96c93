"""The flow-matching family on tiny random weights, through the same adapter as real ones."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import SanaPipeline
from sampling.tiny_families import SANA_WIDTH, new_sana_transformer, save_sana
from text_to_image import PROMPTS

from tstitch_search.allocation import Allocation
from tstitch_search.config import load_space
from tstitch_search.errors import ConfigError
from tstitch_search.members.loading import load_members, load_model
from tstitch_search.members.vae import pixels_per_latent, read_vae_config
from tstitch_search.sampling.conditions import Condition
from tstitch_search.sampling.families import diffusers_pipeline, family_of
from tstitch_search.sampling.space_check import check_space

# diffusers' solvers hand torch tensors to numpy the old way.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

CPU = torch.device("cpu")
N_STEPS = 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_sana(tmp_path_factory.mktemp("sana"))


def load(folder: Path, solver: str | None = None) -> SanaPipeline:
    space = load_space(folder / "space.yaml").model_copy(update={"solver": solver})
    assert family_of(space) is diffusers_pipeline
    members, _ = load_members(check_space(space, folder).members, CPU, torch.float32)
    return diffusers_pipeline.load_pipeline(
        space, folder, diffusers_pipeline.stitch(members), load_model(folder / "vae", CPU, torch.float32)
    )


def sample(pipeline: Any, allocation: str, images: tuple[int, ...] = (0, 1), scale: float = 3.0) -> torch.Tensor:
    pipeline.transformer.set_allocation(Allocation.parse(allocation))
    conditions = [Condition(0, PROMPTS[i], "blurry") for i in images]
    generators = [torch.Generator().manual_seed(i) for i in images]
    return diffusers_pipeline.sample(pipeline, conditions, generators, N_STEPS, scale)


@pytest.mark.parametrize(("solver", "scale"), [(None, 3.0), (None, 1.0), ("FlowMatchEulerDiscreteScheduler", 3.0)])
def test_all_steps_to_one_member_is_bit_equal_to_the_stock_pipeline(
    folder: Path, solver: str | None, scale: float
) -> None:
    pipeline = load(folder, solver)
    stock = SanaPipeline(
        **{
            **pipeline.components,
            "transformer": load_model(folder / "B", CPU, torch.float32),
            "scheduler": type(pipeline.scheduler).from_config(pipeline.scheduler.config),
        }
    )
    stock.set_progress_bar_config(disable=True)
    plain = stock(
        PROMPTS[:2],
        negative_prompt="blurry",
        guidance_scale=scale,
        num_inference_steps=N_STEPS,
        generator=[torch.Generator().manual_seed(i) for i in range(2)],
        height=32,
        width=32,
        use_resolution_binning=False,
        output_type="pt",
    ).images
    images = sample(pipeline, "B*4", scale=scale)
    assert torch.equal(images, plain)
    assert images.shape == (2, 3, 32, 32)
    assert 0 <= images.min() < images.max() <= 1


def test_facts_are_those_of_the_family(folder: Path) -> None:
    """Widths of cross attention differ, for they are the members' own; what they attend to does not."""
    facts = check_space(load_space(folder / "space.yaml"), folder)
    assert {member.conditioning_width for member in facts.members.values()} == {SANA_WIDTH}
    assert facts.shared.noise is not None
    assert facts.shared.noise.prediction_type == "flow_prediction"
    assert pixels_per_latent(read_vae_config(folder / "vae")) == 2


def test_members_that_count_time_in_other_units_are_refused(folder: Path) -> None:
    members = {name: new_sana_transformer(0, 1) for name in "SL"}
    members["L"].register_to_config(timestep_scale=0.001)
    with pytest.raises(ConfigError, match=r"timestep_scale 1 \(S\), 0.001 \(L\), expected one for all"):
        diffusers_pipeline.stitch(members)
