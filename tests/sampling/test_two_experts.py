"""A pipeline with two denoisers (Wan 2.2): the allocation decides which one answers, not the boundary."""

from pathlib import Path
from typing import Any

import diffusers as d
import pytest
import torch
from sampling.saved_pipelines import STUDY, save_pipeline
from text_to_image import PROMPTS

from tstitch_search import stitch
from tstitch_search.config import load_study
from tstitch_search.errors import ConfigError
from tstitch_search.search_space import SearchSpace
from tstitch_search.tasks.check import check_study


def new_member(seed: int, n_layers: int) -> d.WanTransformer3DModel:
    torch.manual_seed(seed)
    return d.WanTransformer3DModel(
        patch_size=(1, 2, 2),
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=16,
        out_channels=16,
        text_dim=32,
        freq_dim=16,
        ffn_dim=32,
        num_layers=n_layers,
        rope_max_seq_len=32,
    ).eval()


def new_pipeline(transformer: Any, transformer_2: Any) -> d.WanPipeline:
    torch.manual_seed(0)
    vae = d.AutoencoderKLWan(
        base_dim=3, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1, temperal_downsample=[False, True, True]
    )
    solver = d.UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0)
    parts = {"transformer": transformer, "transformer_2": transformer_2, "text_encoder": None, "tokenizer": None}
    pipeline = d.WanPipeline(**parts, vae=vae, scheduler=solver, boundary_ratio=0.875)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def frames(pipeline: Any, n_steps: int = 6) -> torch.Tensor:
    random = torch.Generator().manual_seed(5)
    embeds = [torch.randn(1, 7, 32, generator=random) for _ in range(2)]
    return pipeline(
        prompt_embeds=embeds[0],
        negative_prompt_embeds=embeds[1],
        guidance_scale=5.0,
        height=16,
        width=16,
        num_frames=5,
        num_inference_steps=n_steps,
        generator=torch.Generator().manual_seed(0),
        output_type="latent",
    )[0]


def test_one_member_answers_every_step_on_both_sides_of_the_boundary() -> None:
    small, large = new_member(1, 1), new_member(2, 2)
    alone, both_experts = frames(new_pipeline(small, small)), frames(new_pipeline(small, large))
    assert not torch.equal(alone, both_experts)  # the boundary lies within these steps
    pipeline = stitch(new_pipeline(small, large), "S*6", members={"S": small, "XL": large})
    assert torch.equal(frames(pipeline), alone)


def test_the_pipelines_own_boundary_is_an_allocation_too() -> None:
    small, large = new_member(1, 1), new_member(2, 2)
    stock = new_pipeline(small, large)
    expected = frames(stock)
    n_early = int((stock.scheduler.timesteps >= 0.875 * stock.scheduler.config.num_train_timesteps).sum())
    assert 0 < n_early < 6
    pipeline = stitch(new_pipeline(small, large), f"S*{n_early}-XL*{6 - n_early}", members={"S": small, "XL": large})
    assert torch.equal(frames(pipeline), expected)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = save_pipeline("wan22", tmp_path_factory.mktemp("wan22"))
    (folder / "prompts.txt").write_text("\n".join(PROMPTS * 8))
    (folder / "study.yaml").write_text(STUDY)
    return folder


def test_the_published_boundary_is_a_named_baseline(folder: Path) -> None:
    study = load_study(folder / "study.yaml", ["space.published_boundary=B*1-L*3", "space.grid=2"])
    named = {str(a): name for a, name in SearchSpace.of_study(study).baseline_names.items()}
    assert named["B*1-L*3"] == "published boundary"


def test_check_knows_how_the_pipeline_divides_the_steps(folder: Path) -> None:
    solver = new_pipeline(None, None).scheduler
    solver.set_timesteps(4)
    n_early = int((solver.timesteps >= 900).sum())  # the folder's boundary_ratio is 0.9
    right = f"B*{n_early}-L*{4 - n_early}"
    assert check_study(load_study(folder / "study.yaml", [f"space.published_boundary={right}"])).problem is None
    other = f"B*{n_early % 3 + 1}-L*{3 - n_early % 3}"
    with pytest.raises(ConfigError, match=rf"boundary_ratio 0.9 gives the first expert {n_early} of 4 steps") as error:
        check_study(load_study(folder / "study.yaml", [f"space.published_boundary={other}"]))
    assert right in str(error.value.hint)


def test_a_boundary_divides_the_steps_of_two_denoisers(folder: Path) -> None:
    for text in ("B*4", "B*1-L*2", "B*1-X*3"):
        with pytest.raises(
            ConfigError, match=r"published_boundary: got .*, expected two of S, B, L that share 4 steps"
        ):
            load_study(folder / "study.yaml", [f"space.published_boundary={text}"])
