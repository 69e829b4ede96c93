"""The text-to-image families on tiny random weights, through the same adapter as real ones: what holds for each."""

import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from text_to_image import PROMPTS, save_sdxl, save_stable_diffusion

from tstitch_search.allocation import Allocation
from tstitch_search.config import load_space
from tstitch_search.errors import ConfigError
from tstitch_search.members.loading import load_members, load_model
from tstitch_search.sampling.conditions import Condition
from tstitch_search.sampling.families import family_of
from tstitch_search.sampling.space_check import check_space, conversions

# diffusers' solvers hand torch tensors to numpy the old way.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

CPU = torch.device("cpu")
N_STEPS = 4
SAVE: dict[str, Callable[[Path], Path]] = {"stable_diffusion": save_stable_diffusion, "sdxl": save_sdxl}
PIPELINES = {"stable_diffusion": StableDiffusionPipeline, "sdxl": StableDiffusionXLPipeline}


@pytest.fixture(scope="module", params=sorted(SAVE))
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return SAVE[request.param](tmp_path_factory.mktemp(request.param))


def load(folder: Path, solver: str | None = None, **values: Any) -> tuple[Any, Any]:
    """The family's pipeline with all members of the folder, and its adapter."""
    space = load_space(folder / "space.yaml").model_copy(update={"solver": solver, **values})
    facts = check_space(space, folder)
    members, _ = load_members(facts.members, CPU, torch.float32)
    family = family_of(space)
    denoiser = family.stitch(members)
    pipeline = family.load_pipeline(space, folder, denoiser, load_model(folder / "vae", CPU, torch.float32))
    for name, adapter in conversions(facts).items():
        denoiser.adapt(name, adapter)
    return pipeline, family


def sample(
    loaded: tuple[Any, Any], allocation: str, images: tuple[int, ...] = (0, 1, 2), guidance: float = 3.0
) -> torch.Tensor:
    pipeline, family = loaded
    pipeline.unet.set_allocation(Allocation.parse(allocation))
    conditions = [Condition(0, PROMPTS[i], "blurry") for i in images]
    generators = [torch.Generator().manual_seed(i) for i in images]
    return family.sample(pipeline, conditions, generators, N_STEPS, guidance)


def stock(folder: Path, member: str, solver: str | None, guidance: float) -> torch.Tensor:
    """The same images from a stock pipeline that knows nothing of stitching."""
    (pipeline, _), unet = load(folder, solver), load_model(folder / member, CPU, torch.float32)
    parts = {
        **pipeline.components,
        "unet": unet,
        "scheduler": type(pipeline.scheduler).from_config(pipeline.scheduler.config),
    }
    if "safety_checker" in parts:
        parts["requires_safety_checker"] = False
    plain = type(pipeline)(**parts)
    plain.set_progress_bar_config(disable=True)
    return plain(
        PROMPTS[:3],
        negative_prompt=["blurry"] * 3,
        guidance_scale=guidance,
        num_inference_steps=N_STEPS,
        generator=[torch.Generator().manual_seed(i) for i in range(3)],
        output_type="pt",
    ).images


SOLVERS = [
    None,
    "DPMSolverMultistepScheduler",
    "LCMScheduler",
    "EulerAncestralDiscreteScheduler",
    "HeunDiscreteScheduler",
]


class TestEveryFamily:
    """What holds for every family of text-conditional denoisers."""

    @pytest.mark.parametrize(("solver", "guidance"), [*((solver, 3.0) for solver in SOLVERS), (None, 1.0)])
    def test_all_steps_to_one_member_is_bit_equal_to_the_stock_pipeline(self, folder, solver, guidance) -> None:
        images = sample(load(folder, solver), f"B*{N_STEPS}", guidance=guidance)
        assert torch.equal(images, stock(folder, "B", solver, guidance))
        assert images.shape == (3, 3, 32, 32)
        assert 0 <= images.min() < images.max() <= 1

    def test_it_is_the_stock_class(self, folder) -> None:
        pipeline, _ = load(folder)
        assert type(pipeline) is PIPELINES[json_name(folder)]

    @pytest.mark.parametrize("solver", SOLVERS[:2])
    def test_members_of_equal_weights_give_the_same_images_for_every_allocation(self, folder, tmp_path, solver) -> None:
        twins = Path(shutil.copytree(folder, tmp_path / "twins"))
        for name in ("S", "L"):
            shutil.rmtree(twins / name)
            shutil.copytree(twins / "B", twins / name)
        loaded = load(twins, solver)
        plain = sample(loaded, "B*4")
        for names in itertools.product("SBL", repeat=2):
            assert torch.equal(sample(loaded, str(Allocation.of((name, 2) for name in names))), plain)

    def test_each_member_is_called_for_its_own_steps_and_one_without_steps_never(self, folder) -> None:
        loaded = load(folder, "DDIMScheduler")
        denoiser, calls = loaded[0].unet, dict.fromkeys("SBL", 0)

        def count(name: str) -> None:
            calls[name] += 1

        for name, member in zip(denoiser.names, denoiser.members, strict=True):
            member.register_forward_hook(lambda *_, name=name: count(name))
        sample(loaded, "S*3-L*1")
        assert calls == {"S": 3, "B": 0, "L": 1}

    @pytest.mark.parametrize("solver", SOLVERS[1:4])
    def test_an_image_is_the_same_in_whatever_batch_it_is_made(self, folder, solver) -> None:
        loaded = load(folder, solver)
        whole = levels(sample(loaded, "S*2-L*2", (0, 1, 2, 3, 4)))
        parts = [levels(sample(loaded, "S*2-L*2", part)) for part in ((0,), (1, 2), (3, 4))]
        assert (torch.cat(parts) - whole).abs().max() <= 1
        assert not torch.equal(whole[0], whole[1])

    def test_prompts_and_negative_prompts_count(self, folder) -> None:
        pipeline, family = load(folder)
        pipeline.unet.set_allocation(Allocation.parse("S*2-L*2"))
        conditions = [Condition(0, "a cat"), Condition(0, "a dog"), Condition(0, "a cat", "blurry")]
        made = [
            family.sample(pipeline, [condition], [torch.Generator().manual_seed(0)], N_STEPS, 3.0)
            for condition in conditions
        ]
        assert all(not torch.equal(a, b) for a, b in itertools.combinations(made, 2))


def levels(images: torch.Tensor) -> torch.Tensor:
    return (images * 255).round().int()


def json_name(folder: Path) -> str:
    return str(load_space(folder / "space.yaml").family)


@pytest.fixture
def family(folder: Path, tmp_path: Path) -> Path:
    """A copy whose member B has a whole repository of its own, in b/, to damage."""
    family = Path(shutil.copytree(folder, tmp_path / "family"))
    shutil.move(family / "B", family / "b" / "unet")
    for part in ("vae", "scheduler", *(path.name for path in family.glob("text_encoder*"))):
        shutil.copytree(family / part, family / "b" / part)
    text = (family / "space.yaml").read_text()
    (family / "space.yaml").write_text(text.replace("weights: B}", "weights: b, subfolder: unet}"))
    return family


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_a_member_with_a_repository_of_its_own_fits(family: Path) -> None:
    facts = check_space(load_space(family / "space.yaml"), family)
    own, shared = facts.members["B"].own, facts.shared
    assert (own.vae, own.noise, own.encoders) == (shared.vae, shared.noise, shared.encoders)


@pytest.mark.parametrize(
    ("file", "values", "message"),
    [
        ("vae/config.json", {"shift_factor": 0.1}, r"'B' has a VAE with shift_factor 0.1, but the pipeline's VAE has"),
        ("unet/config.json", {"addition_embed_type": "text"}, "'B' has added conditioning text"),
        ("unet/config.json", {"out_channels": 5}, "'B' has out_channels 5, but denoiser 'S' has 4"),
        ("unet/config.json", {"time_cond_proj_dim": 8}, "'B' has a guidance embedding of 8, but the largest, 'L', has"),
    ],
)
def test_further_mismatches_are_refused(family: Path, file: str, values: Any, message: str) -> None:
    change(family / "b" / file, **values)
    with pytest.raises(ConfigError, match=message):
        check_space(load_space(family / "space.yaml"), family)


def test_a_member_of_another_prediction_type_is_converted_when_the_space_says_so(family: Path) -> None:
    """Weights are random, so that no two kinds agree; but converted answers differ from unconverted ones."""
    plain = sample(load(family), "B*4")
    change(family / "b" / "scheduler" / "scheduler_config.json", prediction_type="v_prediction")
    converted = sample(load(family, convert=True), "B*4")
    assert torch.isfinite(converted).all()
    assert not torch.equal(converted, plain)
