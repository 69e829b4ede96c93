"""`stitch` on loaded stock pipelines: three lines, switching without loading, and refusals that say what to do."""

import copy
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoModel, DDIMScheduler, DiTPipeline, DPMSolverMultistepScheduler, StableDiffusionPipeline
from text_to_image import ENCODER_WIDTH, letter_tokenizer, new_unet, new_vae

from tstitch_search import Allocation, stitch, warm_up
from tstitch_search.errors import ConfigError
from tstitch_search.sampling.stitching.stitched_denoiser import StitchedDenoiser

# diffusers' solvers hand torch tensors to numpy the old way.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

TEXT = torch.randn(1, 12, ENCODER_WIDTH, generator=torch.Generator().manual_seed(0))


def text_pipeline(unet: Any) -> StableDiffusionPipeline:
    pipeline = StableDiffusionPipeline(
        unet=unet,
        vae=new_vae(),
        scheduler=DDIMScheduler(clip_sample=False, steps_offset=1),
        text_encoder=None,
        tokenizer=None,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def draw(pipeline: Any, n_steps: int = 4) -> torch.Tensor:
    return pipeline(
        prompt_embeds=TEXT,
        negative_prompt_embeds=-TEXT,
        num_inference_steps=n_steps,
        generator=torch.Generator().manual_seed(0),
        output_type="pt",
    ).images


@pytest.fixture
def members() -> dict[str, Any]:
    return {"S": new_unet(1, 4), "L": new_unet(2, 12)}


def test_each_call_switches_the_entry_and_loads_nothing(members: dict[str, Any]) -> None:
    pipeline = text_pipeline(members["L"])
    plain = {name: draw(text_pipeline(member)) for name, member in members.items()}
    assert stitch(pipeline, "S*4", members=members) is pipeline
    assert torch.equal(draw(pipeline), plain["S"])
    denoiser = pipeline.unet
    stitch(pipeline, Allocation.parse("L*4"))
    assert torch.equal(draw(pipeline), plain["L"])
    stitch(pipeline, "S*2-L*2")
    mixed = draw(pipeline)
    assert not torch.equal(mixed, plain["S"])
    assert not torch.equal(mixed, plain["L"])
    assert pipeline.unet is denoiser


def test_members_may_be_given_again_and_another_solver_put_in(members: dict[str, Any]) -> None:
    pipeline = text_pipeline(members["L"])
    for _ in range(2):
        stitch(pipeline, "S*2-L*2", members=members)
        first = draw(pipeline)
    pipeline.scheduler = DPMSolverMultistepScheduler.from_config(pipeline.scheduler.config)
    stitch(pipeline, "S*2-L*2")
    assert not torch.equal(draw(pipeline), first)


def test_a_member_that_the_entry_does_not_use_need_not_be_there(members: dict[str, Any]) -> None:
    pipeline = text_pipeline(members["L"])
    assert torch.equal(draw(stitch(pipeline, "L*4", members={"L": members["L"]})), draw(text_pipeline(members["L"])))


def test_a_pipeline_of_class_labels_gets_the_adapter_that_knows_its_null_class(tiny_family: Path) -> None:
    members = {name: AutoModel.from_pretrained(str(tiny_family / name)) for name in ("S", "XL")}
    pipeline = DiTPipeline(
        transformer=members["XL"],
        vae=AutoModel.from_pretrained(str(tiny_family / "vae")),
        scheduler=DDIMScheduler.from_pretrained(str(tiny_family / "scheduler")),
    )
    pipeline.set_progress_bar_config(disable=True)
    stitch(pipeline, "S*2-XL*2", members=members)
    images = pipeline([3, 7], num_inference_steps=4, output_type="pt").images  # 10 classes; the pipeline says 1000
    assert torch.isfinite(images).all()


def test_problems_are_said_with_what_to_do(members: dict[str, Any]) -> None:
    pipeline = text_pipeline(members["L"])
    with pytest.raises(ConfigError, match="nothing is stitched yet"):
        stitch(pipeline, "S*4")
    with pytest.raises(ConfigError, match="needs the denoiser 'S', got L"):
        stitch(pipeline, "S*2-L*2", members={"L": members["L"]})
    with pytest.raises(ConfigError, match="the denoiser 'S' is a str, expected a torch module"):
        stitch(pipeline, "S*2-L*2", members={"S": "my-small-unet", "L": members["L"]})
    other = {"S": new_unet(1, 4, conditioning_width=16), "L": members["L"]}
    with pytest.raises(ConfigError, match="different families: conditioning width is 16 and 8"):
        stitch(pipeline, "S*2-L*2", members=other)
    assert not isinstance(pipeline.unet, StitchedDenoiser)
    stitch(pipeline, "S*3-L*3", members=members)
    with pytest.raises(ConfigError, match=r"S\*3-L\*3 has 6 steps, but the pipeline runs 4 steps"):
        draw(pipeline, 4)
    with pytest.raises(ConfigError, match="unknown denoiser 'M'"):
        stitch(pipeline, "M*4")


def test_copies_take_turns_at_the_tokenizer_they_share(members: dict[str, Any]) -> None:
    pipeline = text_pipeline(members["L"])
    pipeline.register_modules(tokenizer=letter_tokenizer())
    stitch(pipeline, "S*4", members=members)
    asked: list[dict[str, Any]] = [{"padding": "longest"}, {"padding": "max_length", "max_length": 12}, {}]

    def encoded(k: int) -> Any:
        return copy.copy(pipeline).tokenizer(["ab", "abcdef"], **asked[k % len(asked)]).input_ids

    expected = [encoded(k) for k in range(len(asked))]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # threads that do not wait for each other meet at every few instructions
    try:
        with ThreadPoolExecutor(4) as pool:
            made = list(pool.map(encoded, range(600)))
    finally:
        sys.setswitchinterval(interval)
    assert made == expected * 200


@pytest.mark.slow
def test_the_package_brings_torch_only_when_stitch_is_asked_for() -> None:
    program = (
        "import sys; from tstitch_search import LookupTable, Allocation; print('torch' in sys.modules);"
        "from tstitch_search import stitch; print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\nTrue\n"


def test_warming_up_compiles_every_member_once_and_changes_no_image(members: dict[str, Any]) -> None:
    """What a first request would have to wait for is there before it."""
    pipeline = stitch(text_pipeline(members["L"]), "S*2-L*2", members=members)
    before, graphs = draw(pipeline), list[object]()

    def backend(graph: Any, _: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    pipeline.unet.compile(backend=backend)
    call = {"prompt_embeds": TEXT, "negative_prompt_embeds": -TEXT, "output_type": "latent"}
    assert list(warm_up(pipeline, **call)) == ["S", "L"]
    n_graphs = len(graphs)
    assert n_graphs >= 2
    assert torch.equal(draw(pipeline), before)
    assert len(graphs) == n_graphs
    with pytest.raises(ConfigError, match="nothing is stitched in this StableDiffusionPipeline yet"):
        warm_up(text_pipeline(members["L"]))
