"""The flow-matching family on tiny random weights, through the same adapter as real ones."""

import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderDC, DPMSolverMultistepScheduler, SanaPipeline, SanaTransformer2DModel
from text_to_image import PROMPTS, SPACE, letter_tokenizer
from transformers import Gemma2Config, Gemma2Model

from tstitch_search.allocation import Allocation
from tstitch_search.config import load_space
from tstitch_search.errors import ConfigError
from tstitch_search.measure.families import family_of, sana
from tstitch_search.measure.members import load_members, load_model
from tstitch_search.measure.proxy_set import Condition
from tstitch_search.measure.spaces import check_space
from tstitch_search.measure.vae_facts import pixels_per_latent, read_vae_config

# diffusers' solvers hand torch tensors to numpy the old way.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

CPU = torch.device("cpu")
N_STEPS, WIDTH = 4, 8


def new_transformer(seed: int, heads: int) -> SanaTransformer2DModel:
    torch.manual_seed(seed)
    return SanaTransformer2DModel(
        in_channels=4,
        out_channels=4,
        num_attention_heads=heads,
        attention_head_dim=4,
        num_layers=1,
        num_cross_attention_heads=heads,
        cross_attention_head_dim=4,
        cross_attention_dim=4 * heads,
        caption_channels=WIDTH,
        sample_size=16,
    ).eval()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Members S, B, L of other widths, DC-AE of 4x16x16 latents and 3x32x32 images, a flow solver, a Gemma 2."""
    folder = tmp_path_factory.mktemp("sana")
    for seed, (name, heads) in enumerate((("S", 1), ("B", 2), ("L", 3))):
        new_transformer(seed, heads).save_pretrained(folder / name)
    torch.manual_seed(0)
    AutoencoderDC(
        latent_channels=4,
        attention_head_dim=4,
        encoder_block_types="ResBlock",
        decoder_block_types="ResBlock",
        encoder_block_out_channels=(4, 8),
        decoder_block_out_channels=(4, 8),
        encoder_layers_per_block=(1, 1),
        decoder_layers_per_block=(1, 1),
        encoder_qkv_multiscales=((), ()),
        decoder_qkv_multiscales=((), ()),
        scaling_factor=0.41407,
    ).save_pretrained(folder / "vae")
    DPMSolverMultistepScheduler(
        use_flow_sigmas=True, prediction_type="flow_prediction", flow_shift=3.0
    ).save_pretrained(folder / "scheduler")
    words = letter_tokenizer()
    words.save_pretrained(folder / "tokenizer")
    Gemma2Model(
        Gemma2Config(
            vocab_size=len(words),
            hidden_size=WIDTH,
            intermediate_size=8,
            num_hidden_layers=1,
            num_attention_heads=1,
            num_key_value_heads=1,
            head_dim=8,
            pad_token_id=words.pad_token_id,
            initializer_range=1.0,
        )
    ).save_pretrained(folder / "text_encoder")
    parts = {"text_encoder": "Gemma2Model", "tokenizer": "PreTrainedTokenizerFast"}
    (folder / "model_index.json").write_text(json.dumps({name: ["transformers", kind] for name, kind in parts.items()}))
    (folder / "space.yaml").write_text(SPACE.format(family="sana"))
    return folder


def load(folder: Path, solver: str | None = None) -> SanaPipeline:
    space = load_space(folder / "space.yaml").model_copy(update={"solver": solver})
    assert family_of(space) is sana
    members, _ = load_members(check_space(space, folder).members, CPU, torch.float32)
    return sana.load_pipeline(space, folder, sana.stitch(members), load_model(folder / "vae", CPU, torch.float32))


def sample(pipeline: Any, allocation: str, images: tuple[int, ...] = (0, 1), scale: float = 3.0) -> torch.Tensor:
    pipeline.transformer.set_allocation(Allocation.parse(allocation))
    conditions = [Condition(0, PROMPTS[i], "blurry") for i in images]
    generators = [torch.Generator().manual_seed(i) for i in images]
    return sana.sample(pipeline, conditions, generators, N_STEPS, scale)


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


def test_two_and_three_members_make_images_of_their_own(folder: Path) -> None:
    pipeline = load(folder)
    images = [sample(pipeline, text) for text in ("S*4", "L*4", "S*2-L*2", "S*1-B*2-L*1", "L*2-S*2")]
    assert all(torch.isfinite(i).all() for i in images)
    assert all(not torch.equal(a, b) for a, b in itertools.combinations(images, 2))


def test_an_image_is_the_same_in_whatever_batch_it_is_made(folder: Path) -> None:
    pipeline = load(folder)
    whole = (sample(pipeline, "S*2-L*2", (0, 1, 2)) * 255).round()
    parts = torch.cat([sample(pipeline, "S*2-L*2", part) for part in ((0,), (1, 2))])
    assert ((parts * 255).round() - whole).abs().max() <= 1


def test_facts_are_those_of_the_family(folder: Path) -> None:
    """Widths of cross attention differ, for they are the members' own; what they attend to does not."""
    facts = check_space(load_space(folder / "space.yaml"), folder)
    assert {member.conditioning_width for member in facts.members.values()} == {WIDTH}
    assert facts.shared.noise is not None
    assert facts.shared.noise.prediction_type == "flow_prediction"
    assert pixels_per_latent(read_vae_config(folder / "vae")) == 2


@pytest.mark.parametrize(
    ("place", "values", "message"),
    [
        ("vae", {"scaling_factor": 0.5}, "'B' has a VAE with scaling_factor 0.5, but the pipeline's VAE has 0.41407"),
        ("scheduler", {"use_flow_sigmas": False}, "'B' has noise process .*flow_prediction is none of epsilon"),
        ("scheduler", {"use_flow_sigmas": False, "prediction_type": "epsilon"}, "'B' has noise process .*epsilon"),
        (".", {"caption_channels": 16}, "'B' has conditioning width 16, but the pipeline's text encoders give 8"),
    ],
)
def test_planted_mismatches_are_refused(folder: Path, tmp_path: Path, place: str, values: Any, message: str) -> None:
    """Even where the space says `convert`: between flow matching and betas nothing is converted."""
    other = Path(shutil.copytree(folder, tmp_path / "other"))
    for part in ("vae", "scheduler"):
        shutil.copytree(folder / part, other / "B" / part)
    space = load_space(other / "space.yaml").model_copy(update={"convert": True})
    check_space(space, other)
    path = other / "B" / place / ("scheduler_config.json" if place == "scheduler" else "config.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
    with pytest.raises(ConfigError, match=message):
        check_space(space, other)


def test_members_that_count_time_in_other_units_are_refused(folder: Path) -> None:
    members = {name: new_transformer(0, 1) for name in "SL"}
    members["L"].register_to_config(timestep_scale=0.001)
    with pytest.raises(ConfigError, match=r"timestep_scale 1 \(S\), 0.001 \(L\), expected one for all"):
        sana.stitch(members)
