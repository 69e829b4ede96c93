"""The class-conditional U-Nets: a pipeline of our own, each member with its own embedding of classes and of none."""

import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, VQModel
from sampling.tiny_families import new_ldm_unet, save_ldm

from tstitch_search.allocation import Allocation
from tstitch_search.config import load_space
from tstitch_search.errors import ConfigError
from tstitch_search.members.formats.class_conditional import NO_LABEL, ClassConditionalPipeline, ClassConditionalUNet
from tstitch_search.members.loading import load_members, load_model
from tstitch_search.members.vae import pixels_per_latent, read_vae_config
from tstitch_search.sampling.conditions import Condition
from tstitch_search.sampling.families import family_of, ldm
from tstitch_search.sampling.space_check import check_space

# diffusers' solvers hand torch tensors to numpy the old way.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

CPU = torch.device("cpu")
N_STEPS, SCALE, LABELS = 4, 2.5, [3, 7, 1]
SOLVERS = [None, "DPMSolverMultistepScheduler", "EulerDiscreteScheduler", "DDPMScheduler"]


@pytest.fixture(scope="module")
def folder(tiny_family: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_ldm(tmp_path_factory.mktemp("ldm"), tiny_family / "vae")


def load(folder: Path, allocation: str, solver: str | None = None) -> ClassConditionalPipeline:
    space = load_space(folder / "space.yaml").model_copy(update={"solver": solver})
    assert family_of(space) is ldm
    members, _ = load_members(check_space(space, folder).members, CPU, torch.float32)
    denoiser = ldm.stitch(members)
    denoiser.set_allocation(Allocation.parse(allocation))
    return ldm.load_pipeline(space, folder, denoiser, load_model(folder / "vae", CPU, torch.float32))


def generators(images: list[int]) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(i) for i in images]


def sample(pipeline: ClassConditionalPipeline, images: list[int] | None = None, scale: float = SCALE) -> torch.Tensor:
    images = [0, 1, 2] if images is None else images
    conditions = [Condition(LABELS[i]) for i in images]
    return ldm.sample(pipeline, conditions, generators(images), n_steps=N_STEPS, guidance_scale=scale)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("scale", [SCALE, 1.0])
@pytest.mark.parametrize("name", ["M", "L"])
def test_alone_a_member_makes_what_the_pipeline_makes_of_it(
    folder: Path, solver: str | None, scale: float, name: str
) -> None:
    stitched = load(folder, f"{name}*4", solver)
    plain = ClassConditionalPipeline(
        unet=ClassConditionalUNet.from_pretrained(folder / name).eval(),
        vae=AutoencoderKL.from_pretrained(folder / "vae"),
        scheduler=type(stitched.scheduler).from_config(stitched.scheduler.config),
    )
    plain.set_progress_bar_config(disable=True)
    made = plain(LABELS, scale, generators([0, 1, 2]), N_STEPS, output_type="pt").images
    assert torch.equal(sample(stitched, scale=scale), made)


@torch.no_grad()
def test_the_pipeline_is_guided_sampling_as_written(folder: Path) -> None:
    """The same with DDIM by hand: labelled and unlabelled answers apart, the last class or fixed noise as no label."""
    for name, scheduler in itertools.product("ML", [DDIMScheduler.from_pretrained(folder / "scheduler")]):
        model = ClassConditionalUNet.from_pretrained(folder / name).eval()
        null = model.embedder.weight[10] if name == "M" else torch.rand(10, generator=torch.Generator().manual_seed(1))
        x = torch.cat([torch.randn(1, 4, 8, 8, generator=generator) for generator in generators([0, 1, 2])])
        scheduler.set_timesteps(N_STEPS)
        for t in scheduler.timesteps:
            labelled = model.unet(x, t, model.embedder.weight[LABELS][:, None]).sample
            unlabelled = model.unet(x, t, null.expand(3, 1, -1)).sample
            x = scheduler.step(unlabelled + SCALE * (labelled - unlabelled), t, x).prev_sample
        vae = AutoencoderKL.from_pretrained(folder / "vae")
        expected = (vae.decode(x / vae.config.scaling_factor).sample / 2 + 0.5).clamp(0, 1)
        assert (sample(load(folder, f"{name}*4")) - expected).abs().max() < 2e-6


@pytest.mark.parametrize("solver", SOLVERS[1:])
def test_an_image_is_the_same_in_whatever_batch_it_is_made(folder: Path, solver: str | None) -> None:
    pipeline = load(folder, "S*2-L*2", solver)
    whole = (sample(pipeline) * 255).round()
    parts = torch.cat([sample(pipeline, [0]), sample(pipeline, [1, 2])])
    assert ((parts * 255).round() - whole).abs().max() <= 1


def test_the_null_input_is_the_same_in_every_process_and_comes_with_the_weights(folder: Path) -> None:
    first, again = new_ldm_unet(4, 6, null_seed=5), new_ldm_unet(4, 6, null_seed=5)
    assert torch.equal(first.null, again.null)
    assert not torch.equal(first.null, new_ldm_unet(4, 6, null_seed=6).null)
    assert "null" in first.state_dict()
    x, t = torch.randn(2, 4, 8, 8), torch.tensor(500)
    answers = first(x, t, torch.tensor([NO_LABEL, 3])).sample
    assert not torch.equal(answers[0], first(x, t, torch.tensor([3, 3])).sample[0])


def test_members_of_other_conditioning_width_fit_and_of_other_classes_do_not(folder: Path, tmp_path: Path) -> None:
    facts = check_space(load_space(folder / "space.yaml"), folder).members
    assert [member.n_classes for member in facts.values()] == [10, 10, 10]
    other = Path(shutil.copytree(folder, tmp_path / "other"))
    config = json.loads((other / "M" / "config.json").read_text())
    (other / "M" / "config.json").write_text(json.dumps({**config, "num_class_embeds": 10}))
    with pytest.raises(ConfigError, match="'M' has classes 9, but the search space has n_classes 10"):
        check_space(load_space(other / "space.yaml"), other)


def test_a_vector_quantised_autoencoder_decodes_as_well(tmp_path: Path) -> None:
    """LDM's own first stage is one."""
    kinds = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
    VQModel(latent_channels=4, block_out_channels=(8, 8), norm_num_groups=4, **kinds).save_pretrained(tmp_path)
    assert pixels_per_latent(read_vae_config(tmp_path)) == 2
    assert load_model(tmp_path, CPU, torch.float32).decode(torch.randn(1, 4, 8, 8)).sample.shape == (1, 3, 16, 16)


def test_images_come_as_arrays_and_pictures_too(folder: Path) -> None:
    pipeline = load(folder, "S*4")
    as_array = pipeline([3], num_inference_steps=4, generator=generators([0]), output_type="np").images
    as_picture = pipeline([3], num_inference_steps=4, generator=generators([0])).images[0]
    assert as_array.shape == (1, 32, 32, 1)
    np.testing.assert_allclose(np.asarray(as_picture) / 255, as_array[0, :, :, 0], atol=0.51 / 255)
