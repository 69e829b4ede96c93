"""Pipelines that guide by an object of theirs: the study's scale reaches it, and copies have one each."""

import copy
from typing import Any

import diffusers
import pytest
import torch
from sampling.saved_pipelines import SHORTENED, save_pipeline
from text_to_image import PROMPTS

from tstitch_search.errors import ConfigError
from tstitch_search.sampling.conditions import Condition
from tstitch_search.sampling.deployment.stitch import stitch
from tstitch_search.sampling.families import diffusers_pipeline
from tstitch_search.sampling.pipeline_class import require_scale, scale_arguments


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = save_pipeline("hunyuan_video15", tmp_path_factory.mktemp("guided"))
    loaded = diffusers.HunyuanVideo15Pipeline.from_pretrained(folder)
    loaded.set_progress_bar_config(disable=True)
    for attribute, value in SHORTENED["hunyuan_video15"].items():
        setattr(loaded, attribute, value)
    loaded.transformer.defaults = {"height": 16, "width": 16, "num_frames": 5}
    return loaded


def by_study(pipeline: Any, scale: float) -> torch.Tensor:
    condition, generator = Condition(0, PROMPTS[0], "dog"), torch.Generator().manual_seed(3)
    return diffusers_pipeline.sample(copy.copy(pipeline), [condition], [generator], 2, scale)


def by_hand(pipeline: Any, guider: Any) -> torch.Tensor:
    by_hand = copy.copy(pipeline)
    by_hand.guider = guider
    drawn = by_hand(
        PROMPTS[0],
        "dog",
        num_inference_steps=2,
        generator=torch.Generator().manual_seed(3),
        output_type="pt",
        **pipeline.transformer.defaults,
    )
    return drawn.frames


def test_a_study_s_scale_is_the_guider_s(pipeline: Any) -> None:
    kind = diffusers.ClassifierFreeGuidance
    guided, plain = by_study(pipeline, 3.0), by_study(pipeline, 1.0)
    assert torch.equal(guided, by_hand(pipeline, kind(guidance_scale=3.0)))
    assert torch.equal(plain, by_hand(pipeline, kind(enabled=False)))
    assert not torch.equal(guided, plain)


def test_copies_of_a_stitched_pipeline_have_a_guider_each(pipeline: Any) -> None:
    first = stitch(copy.copy(pipeline), "L*2", members={"L": pipeline.transformer})
    second = stitch(copy.copy(first), "L*2")
    assert len({id(p.guider) for p in (pipeline, first, second)}) == 3
    assert second.guider.config.guidance_scale == pipeline.guider.config.guidance_scale


def test_a_scale_that_a_pipeline_takes_nowhere_is_refused() -> None:
    assert scale_arguments(diffusers.HunyuanVideo15Pipeline) == []
    assert scale_arguments(diffusers.HunyuanImagePipeline) == ["distilled_guidance_scale"]
    require_scale(diffusers.HunyuanVideo15Pipeline, 6.0)
    require_scale(diffusers.Flux2KleinKVPipeline, 1.0)
    with pytest.raises(ConfigError, match="Flux2KleinKVPipeline takes none, got 6"):
        require_scale(diffusers.Flux2KleinKVPipeline, 6.0)
