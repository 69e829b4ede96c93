"""Class-conditional DiTs of the published sizes with random weights, in a stock pipeline that can be timed.

Time does not depend on the weights' values. Sizes: DiT (Peebles & Xie, arXiv 2212.09748), table 1, on 256x256 images,
with the autoencoder of Stable Diffusion.
"""

import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, DiTTransformer2DModel

from benchmarks.gpu_evidence.roofline import Cost, cost_of
from tstitch_search.allocation import Allocation
from tstitch_search.config.models import DenoiserConfig, SpaceConfig
from tstitch_search.measure.clock import clock_of
from tstitch_search.measure.latency import Stand
from tstitch_search.measure.memory import memory_of, tensors_mb
from tstitch_search.members.device import device_name
from tstitch_search.sampling.conditions import Condition
from tstitch_search.sampling.families import dit
from tstitch_search.sampling.stitching.guidance import guide
from tstitch_search.sampling.stitching.stitched_denoiser import StitchedDenoiser
from tstitch_search.sampling.timetable import steps_of

GUIDANCE_SCALE = 1.5


@dataclass(frozen=True)
class Setting:
    """Sizes of the members (heads, width of a head, layers), of latents and VAE, and the number format."""

    members: Mapping[str, tuple[int, int, int]]
    latent_size: int
    vae_channels: tuple[int, ...]
    batch_size: int
    dtype: torch.dtype = torch.bfloat16


REAL = Setting({"S": (6, 64, 12), "B": (12, 64, 12), "XL": (16, 72, 28)}, 32, (128, 256, 512, 512), 8)
REDUCED = Setting({"S": (1, 32, 1), "B": (2, 32, 1), "XL": (2, 32, 2)}, 8, (32, 32), 2, torch.float32)


def setting_of(reduced: bool) -> Setting:
    """The published sizes, or small ones."""
    return REDUCED if reduced else REAL


def compile_blocks(member: Any, setting: Setting) -> None:
    """Compile the member's blocks, which are all alike, so that torch compiles one: quicker by far than the whole.

    By torch's own compiler; small members on a CPU by the part of it that needs no C++.
    """
    for block in member.transformer_blocks:
        block.compile(backend="aot_eager" if setting.latent_size < REAL.latent_size else "inductor")


def as_graph(member: DiTTransformer2DModel) -> DiTTransformer2DModel:
    """The member, whose step is recorded once for each shape and replayed from then on. On a CPU, as it was."""
    plain, recorded = member.forward, dict[torch.Size, Any]()

    def forward(hidden_states: torch.Tensor, timestep: Any, class_labels: Any, **rest: Any) -> Any:
        given = (hidden_states, timestep, class_labels)
        if hidden_states.shape not in recorded:
            recorded[hidden_states.shape] = _record(plain, [t.clone() for t in given], rest)
        graph, inputs, output = recorded[hidden_states.shape]
        for place, tensor in zip(inputs, given, strict=True):
            place.copy_(tensor)
        graph.replay()
        return type(output)(sample=output.sample.clone())

    if member.device.type == "cuda":
        member.forward = forward
    return member


def _record(forward: Callable[..., Any], inputs: list[torch.Tensor], rest: dict[str, Any]) -> tuple[Any, ...]:
    """A graph, the tensors it reads and its answer; the work is done once before, as CUDA asks for."""

    def work() -> Any:
        return forward(inputs[0], timestep=inputs[1], class_labels=inputs[2], **rest)

    beside = torch.cuda.Stream()
    beside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(beside):
        work()
    torch.cuda.current_stream().wait_stream(beside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        output = work()
    return graph, inputs, output


def new_member(setting: Setting, name: str, device: torch.device) -> DiTTransformer2DModel:
    """The member of this name, made on the device, in evaluation mode."""
    n_heads, head_width, n_layers = setting.members[name]
    with device:
        member = DiTTransformer2DModel(
            num_attention_heads=n_heads,
            attention_head_dim=head_width,
            num_layers=n_layers,
            sample_size=setting.latent_size,
            in_channels=4,
            out_channels=8,
            patch_size=2,
            num_embeds_ada_norm=1000,
        )
    return member.eval().requires_grad_(False).to(setting.dtype)


def new_vae(setting: Setting, device: torch.device) -> AutoencoderKL:
    """The autoencoder, made on the device."""
    n_blocks = len(setting.vae_channels)
    with device:
        vae = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * n_blocks,
            up_block_types=("UpDecoderBlock2D",) * n_blocks,
            block_out_channels=setting.vae_channels,
            layers_per_block=2,
            sample_size=setting.latent_size * 2 ** (n_blocks - 1),
        )
    return vae.eval().requires_grad_(False).to(setting.dtype)


@dataclass(frozen=True)
class Pipe:
    """A stock DiTPipeline around a stitched denoiser, and the batches it is asked for."""

    setting: Setting
    pipeline: Any
    denoiser: StitchedDenoiser
    device: torch.device

    def with_batch(self, batch_size: int) -> "Pipe":
        """The same for batches of another size."""
        return replace(self, setting=replace(self.setting, batch_size=batch_size))

    def run(self, allocation: Allocation, on_step: Callable[[int], None] | None = None) -> torch.Tensor:
        """The images of one batch."""
        self.denoiser.set_allocation(allocation)
        self.denoiser.on_step = on_step
        labels, generators = self.labels(), self.generators()
        return dit.sample(self.pipeline, [Condition(i) for i in labels], generators, allocation.n_steps, GUIDANCE_SCALE)

    def labels(self) -> list[int]:
        return list(range(self.setting.batch_size))

    def generators(self) -> list[torch.Generator]:
        return [torch.Generator(self.device).manual_seed(i) for i in self.labels()]

    def stand(self, remembering: Iterable[str] = ()) -> Stand:
        """What the product's own timing takes. `remembering`: members with a cache."""
        members = dict(zip(self.denoiser.names, self.denoiser.members, strict=True))
        mb = {name: tensors_mb([member]) for name, member in members.items()}
        return Stand(
            run=lambda allocation, on_step: _ignore(self.run(allocation, on_step)),
            steps=partial(steps_of, self.pipeline.scheduler),
            clock=clock_of(self.device),
            memory=memory_of(self.device),
            device=device_name(self.device),
            batch_size=self.setting.batch_size,
            weights_mb=mb,
            resident_mb=mb,
            shared_mb=tensors_mb([self.pipeline.vae]),
            remembering=frozenset(remembering),
        )


def _ignore(_: object) -> None:
    """The images are not needed where only their time is."""


def new_pipe(
    setting: Setting,
    members: Mapping[str, Any],
    vae: AutoencoderKL,
    device: torch.device,
    guidance_scales: Mapping[str, float] = MappingProxyType({}),
) -> Pipe:
    """The family's own pipeline around the members, with the DDIM that DiT was published with.

    `guidance_scales`: of members that have a guidance of their own.
    """
    denoiser = dit.stitch(members)
    space = SpaceConfig(
        name="gpu_evidence",
        family="dit",
        pipeline=".",
        denoisers=tuple(
            DenoiserConfig(name=name, weights="random", guidance_scale=guidance_scales.get(name)) for name in members
        ),
        n_steps=20,
    )
    with tempfile.TemporaryDirectory() as folder:
        DDIMScheduler(clip_sample=False).save_pretrained(Path(folder) / "scheduler")
        pipeline = dit.load_pipeline(space, Path(folder), denoiser, vae)
    guide(space, denoiser, pipeline, GUIDANCE_SCALE)
    return Pipe(setting, pipeline, denoiser, device)


@torch.no_grad()
def by_hand(pipe: Pipe, allocation: Allocation) -> torch.Tensor:
    """The images of the same batch from the shortest loop that makes them: members, solver and VAE called by hand."""
    members = dict(zip(pipe.denoiser.names, pipe.denoiser.members, strict=True))
    setting, vae = pipe.setting, pipe.pipeline.vae
    scheduler = DDIMScheduler(clip_sample=False)
    shape = (1, 4, setting.latent_size, setting.latent_size)
    rows = [torch.randn(shape, generator=g, device=pipe.device, dtype=setting.dtype) for g in pipe.generators()]
    latents = torch.cat([torch.cat(rows)] * 2)
    labels = torch.tensor(pipe.labels() + [1000] * setting.batch_size, device=pipe.device)
    scheduler.set_timesteps(allocation.n_steps)
    for name, t in zip(allocation.by_step, scheduler.timesteps, strict=True):
        half = latents[: setting.batch_size]
        question = torch.cat([half, half])
        times = t[None].to(pipe.device).expand(len(question))
        answer = members[name](question, timestep=times, class_labels=labels).sample
        noise, rest = answer[:, :4], answer[:, 4:]
        labelled, unlabelled = noise.chunk(2)
        guided = unlabelled + GUIDANCE_SCALE * (labelled - unlabelled)
        noise, _ = torch.cat([torch.cat([guided, guided]), rest], dim=1).split(4, dim=1)
        latents = scheduler.step(noise, t, question).prev_sample
    images = vae.decode(1 / vae.config.scaling_factor * latents[: setting.batch_size]).sample
    return (images / 2 + 0.5).clamp(0, 1)


def step_inputs(setting: Setting, device: torch.device) -> dict[str, torch.Tensor]:
    """What a member is asked with in one step of a batch, both rows of guidance."""
    rows = 2 * setting.batch_size
    shape = (rows, 4, setting.latent_size, setting.latent_size)
    numbers = torch.zeros(rows, dtype=torch.long, device=device)
    latents = torch.zeros(shape, device=device, dtype=setting.dtype)
    return {"hidden_states": latents, "timestep": numbers, "class_labels": numbers}


def step_cost(setting: Setting, name: str) -> Cost:
    """Of one step of a batch, both rows of guidance."""
    meta = torch.device("meta")
    member, inputs = new_member(setting, name, meta), step_inputs(setting, meta)
    return cost_of(lambda: member(**inputs))


def decode_cost(setting: Setting) -> Cost:
    """Of decoding a batch."""
    meta = torch.device("meta")
    vae = new_vae(setting, meta)
    shape = (setting.batch_size, 4, setting.latent_size, setting.latent_size)
    latents = torch.empty(shape, device=meta, dtype=setting.dtype)
    return cost_of(lambda: vae.decode(latents))


def batch_cost(setting: Setting, allocation: Allocation) -> Cost:
    """Of one batch made with the allocation."""
    cost = decode_cost(setting)
    for name, n_steps in allocation.steps.items():
        cost += step_cost(setting, name) * n_steps
    return cost
