"""The stitched denoiser where pipelines do more than run all steps from noise, and where members differ in kind."""

import functools
from dataclasses import asdict, replace
from typing import Any

import diffusers
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DiTPipeline,
    DiTTransformer2DModel,
    EulerDiscreteScheduler,
    LCMScheduler,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
)
from text_to_image import ENCODER_WIDTH, new_sdxl_unet, new_unet, new_vae
from torch import nn

from tstitch_search.allocation import Allocation
from tstitch_search.members.noise_process import NoiseProcess
from tstitch_search.members.noise_schedule import compare
from tstitch_search.sampling.families import dit
from tstitch_search.sampling.stitching.conversion import conversion_of
from tstitch_search.sampling.stitching.stitched_denoiser import StitchedDenoiser

# diffusers' solvers hand torch tensors to numpy the old way.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

N_STEPS = 8
BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
TEXT = torch.randn(1, 12, ENCODER_WIDTH, generator=torch.Generator().manual_seed(0))
XL_TEXT = torch.randn(1, 12, 2 * ENCODER_WIDTH, generator=torch.Generator().manual_seed(0))
POOLED = torch.randn(1, ENCODER_WIDTH, generator=torch.Generator().manual_seed(1))


def members() -> dict[str, nn.Module]:
    return {"S": new_unet(1, 4), "L": new_unet(2, 12)}


def in_pipeline(kind: type, denoiser: nn.Module, scheduler: Any) -> Any:
    """A pipeline of the kind without text encoders, around the denoiser."""
    absent = {"text_encoder": None, "tokenizer": None}
    if kind is StableDiffusionXLPipeline:
        absent |= {"text_encoder_2": None, "tokenizer_2": None, "add_watermarker": False}
    else:
        absent |= {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    pipeline = kind(unet=denoiser, vae=new_vae(), scheduler=scheduler, **absent)
    pipeline.set_progress_bar_config(disable=True)
    if isinstance(denoiser, StitchedDenoiser):
        denoiser.watch(scheduler)
    return pipeline


def stitched(parts: dict[str, nn.Module], allocation: str) -> StitchedDenoiser:
    denoiser = StitchedDenoiser(parts)
    denoiser.set_allocation(Allocation.parse(allocation))
    return denoiser


def count_calls(parts: dict[str, nn.Module]) -> dict[str, int]:
    calls = dict.fromkeys(parts, 0)

    def count(name: str) -> None:
        calls[name] += 1

    for name, member in parts.items():
        member.register_forward_hook(lambda *_, name=name: count(name))
    return calls


def from_image(pipeline: Any, strength: float) -> torch.Tensor:
    return pipeline(
        prompt_embeds=TEXT,
        negative_prompt_embeds=-TEXT,
        image=torch.linspace(0, 1, 3 * 32 * 32).reshape(1, 3, 32, 32),
        strength=strength,
        num_inference_steps=N_STEPS,
        generator=torch.Generator().manual_seed(0),
        output_type="pt",
    ).images


@pytest.mark.parametrize(
    "solver", ["PNDM", "DDIM", "DPMSolverMultistep", "EulerDiscrete", "HeunDiscrete", "UniPCMultistep"]
)
@pytest.mark.parametrize(("strength", "expected"), [(0.5, {"S": 0, "L": 4}), (0.75, {"S": 2, "L": 4}), (1.0, None)])
def test_image_to_image_runs_the_last_part_of_the_allocation(solver, strength, expected) -> None:
    """The solver's own numbering counts: with strength 1/2 half the steps are run, and they are the late ones."""
    new = functools.partial(getattr(diffusers, f"{solver}Scheduler"), **BETAS)
    options = {"PNDM": {"skip_prk_steps": True}, "DDIM": {"clip_sample": False}}.get(solver, {})
    parts = members()
    calls = count_calls(parts)
    denoiser = stitched(parts, "S*4-L*4")
    done: list[int] = []
    denoiser.on_step = done.append
    from_image(in_pipeline(StableDiffusionImg2ImgPipeline, denoiser, new(**options)), strength)
    if solver == "PNDM" and expected:  # begins one of its steps earlier: it has one entry more than steps
        assert calls == {"S": expected["S"] + 1, "L": expected["L"]}
    elif solver == "HeunDiscrete":  # two entries per step, one for the last
        assert calls["L"] == 7
        assert (calls["S"] > 0) == (strength > 0.5)
    elif expected:
        assert calls == expected
    assert done[-1] == N_STEPS
    plain = from_image(in_pipeline(StableDiffusionImg2ImgPipeline, parts["L"], new(**options)), strength)
    denoiser.set_allocation(Allocation.parse("L*8"))
    again = from_image(in_pipeline(StableDiffusionImg2ImgPipeline, denoiser, new(**options)), strength)
    assert torch.equal(again, plain)


def draw_xl(pipeline: Any, **options: Any) -> torch.Tensor:
    return pipeline(
        prompt_embeds=XL_TEXT,
        pooled_prompt_embeds=POOLED,
        negative_prompt_embeds=-XL_TEXT,
        negative_pooled_prompt_embeds=-POOLED,
        num_inference_steps=N_STEPS,
        generator=torch.Generator().manual_seed(0),
        output_type="pt",
        **options,
    ).images


def test_denoising_end_runs_the_first_part_of_the_allocation_and_the_next_call_starts_anew() -> None:
    parts = {"S": new_sdxl_unet(1, 4), "L": new_sdxl_unet(2, 12)}
    calls = count_calls(parts)
    pipeline = in_pipeline(StableDiffusionXLPipeline, stitched(parts, "S*4-L*4"), EulerDiscreteScheduler(**BETAS))
    whole = draw_xl(pipeline)
    assert calls == {"S": 4, "L": 4}
    draw_xl(pipeline, denoising_end=0.5)
    assert calls == {"S": 8, "L": 4}
    assert torch.equal(draw_xl(pipeline), whole)


@pytest.mark.parametrize("allocation", ["S*2-L*6", "L*8", "S*8"])
def test_each_member_gets_the_guidance_embedding_only_if_it_has_one(allocation: str) -> None:
    """As LCM-SDXL beside an SSD-1B with an LCM LoRA: the pipeline prepares it for the large one."""
    parts = {"S": new_sdxl_unet(1, 4), "L": new_sdxl_unet(2, 12, time_cond_proj_dim=8)}
    seen: dict[str, set[bool]] = {"S": set(), "L": set()}
    for name, part in parts.items():
        part.register_forward_pre_hook(
            lambda _, args, named, name=name: seen[name].add(named.get("timestep_cond") is not None), with_kwargs=True
        )
    made = draw_xl(in_pipeline(StableDiffusionXLPipeline, stitched(parts, allocation), LCMScheduler(**BETAS)))
    assert seen["S"] <= {False}
    assert seen["L"] <= {True}
    if allocation == "L*8":
        assert torch.equal(made, draw_xl(in_pipeline(StableDiffusionXLPipeline, parts["L"], LCMScheduler(**BETAS))))


def new_dit(seed: int, width: int, out_channels: int) -> DiTTransformer2DModel:
    torch.manual_seed(seed)
    return DiTTransformer2DModel(
        num_attention_heads=1,
        attention_head_dim=width,
        num_layers=1,
        sample_size=8,
        in_channels=4,
        out_channels=out_channels,
    ).eval()


@pytest.mark.parametrize("learned", ["S", "L"])
def test_members_with_and_without_learned_variances_share_a_trajectory(learned: str) -> None:
    parts = {"S": new_dit(1, 8, 4), "L": new_dit(2, 16, 4)}
    parts[learned] = new_dit(3, {"S": 8, "L": 16}[learned], 8)

    def draw(denoiser: nn.Module) -> torch.Tensor:
        scheduler = DDIMScheduler(clip_sample=False)
        pipeline = DiTPipeline(transformer=denoiser, vae=new_vae(), scheduler=scheduler)
        pipeline.set_progress_bar_config(disable=True)
        if isinstance(denoiser, StitchedDenoiser):
            denoiser.watch(scheduler)
        generator = torch.Generator().manual_seed(0)
        return pipeline([3], num_inference_steps=4, generator=generator, output_type="pt").images

    denoiser = dit.stitch(parts)
    for name, part in parts.items():
        denoiser.set_allocation(Allocation.parse(f"{name}*4"))
        assert torch.equal(draw(denoiser), draw(part))
    denoiser.set_allocation(Allocation.parse("S*2-L*2"))
    assert torch.isfinite(draw(denoiser)).all()


EPSILON = NoiseProcess(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012)
KINDS = ("epsilon", "v_prediction", "sample")


class Rephrased(nn.Module):
    """The same denoiser, answering with another prediction type than epsilon."""

    def __init__(self, member: nn.Module, kind: str) -> None:
        super().__init__()
        self.member, self.kind, self.config = member, kind, member.config
        self.shares = DDIMScheduler(**asdict(EPSILON)).alphas_cumprod.sqrt()

    def forward(self, latents: torch.Tensor, timestep: torch.Tensor, **conditions: Any) -> Any:
        (eps,) = self.member(latents, timestep, **conditions)
        a = self.shares[timestep].reshape(-1, 1, 1, 1)
        s = (1 - a**2).sqrt()
        x0 = (latents - s * eps) / a
        return (x0 if self.kind == "sample" else a * eps - s * x0,)


@pytest.mark.parametrize("kind", ["v_prediction", "sample"])
def test_a_member_that_says_the_same_in_another_prediction_type_makes_the_same_image(kind: str) -> None:
    parts: dict[str, nn.Module] = {"E": new_unet(1, 8), "V": Rephrased(new_unet(1, 8), kind)}
    have = replace(EPSILON, prediction_type=kind)
    assert compare(have, EPSILON)[0] == "convertible"
    denoiser = StitchedDenoiser(parts)
    denoiser.adapt("V", conversion_of(have, EPSILON))
    made = []
    for allocation in ("E*8", "V*8", "E*3-V*5"):
        denoiser.set_allocation(Allocation.parse(allocation))
        pipeline = in_pipeline(StableDiffusionPipeline, denoiser, DDIMScheduler(clip_sample=False, **BETAS))
        made.append(
            pipeline(
                prompt_embeds=TEXT,
                negative_prompt_embeds=-TEXT,
                num_inference_steps=N_STEPS,
                generator=torch.Generator().manual_seed(0),
                output_type="pt",
            ).images
        )
    for other in made[1:]:
        torch.testing.assert_close(other, made[0], atol=1e-4, rtol=0)


def test_an_unknown_prediction_type_is_refused() -> None:
    assert compare(EPSILON, EPSILON) == ("same", "")
    flow = replace(EPSILON, prediction_type="flow_prediction")
    assert compare(flow, EPSILON)[0] == "refused"


def test_a_second_denoiser_takes_the_scheduler_over() -> None:
    scheduler = DDIMScheduler(clip_sample=False, **BETAS)
    first, second = stitched(members(), "S*5"), stitched(members(), "S*8")
    first.watch(scheduler)
    second.watch(scheduler)
    done: list[int] = []
    second.on_step = done.append
    scheduler.set_timesteps(8)  # the first would refuse: its allocation has 5 steps
    assert done == [0]


class Scale(nn.Module):
    """A denoiser of one number."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, latents: torch.Tensor) -> tuple[torch.Tensor]:
        return (latents * self.factor,)


def test_compiling_it_compiles_members_once_however_many_steps_they_take() -> None:
    denoiser = stitched({"S": Scale(0.1), "L": Scale(0.2)}, "S*5-L*3")
    scheduler = DDIMScheduler(clip_sample=False)
    denoiser.watch(scheduler)
    compiled: list[object] = []

    def backend(graph: Any, _: Any) -> Any:
        compiled.append(graph)
        return graph.forward

    def draw() -> torch.Tensor:
        latents = torch.ones(1, 4, 2, 2)
        scheduler.set_timesteps(N_STEPS)
        for t in scheduler.timesteps:
            latents = scheduler.step(denoiser(latents)[0], t, latents).prev_sample
        return latents

    with torch.no_grad():
        plain = draw()
        denoiser.compile(backend=backend)
        assert torch.equal(draw(), plain)
    assert 1 <= len(compiled) <= 2  # of members alike one may do for both


def test_bfloat16_members_answer_in_bfloat16() -> None:
    parts = {"S": new_sdxl_unet(1, 4), "L": new_sdxl_unet(2, 12)}
    denoiser = stitched(parts, "S*4-L*4").to(torch.bfloat16)
    pipeline = in_pipeline(StableDiffusionXLPipeline, denoiser, EulerDiscreteScheduler(**BETAS))
    pipeline.vae.to(torch.bfloat16)
    assert denoiser.dtype == torch.bfloat16
    assert torch.isfinite(draw_xl(pipeline)).all()
