"""Part 7: transformers as wide as today's, of few layers, with random weights made on the device in bfloat16.

Widths and token counts: FLUX.1 (24 heads of 128, text of 512 tokens) and Wan 2.1 14B (40 heads of 128, feed-forward
13,824), as their published configurations say. Step time against tokens; what a change of members takes, with and
without offload; what switching LoRAs takes, and the memory of K LoRA members that share the base.
"""

import time
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel, WanTransformer3DModel

from benchmarks.gpu_evidence.record import Part
from benchmarks.gpu_evidence.roofline import PEAK_COPY_BYTES, Cost, cost_of
from tstitch_search.allocation import Allocation
from tstitch_search.measure.clock import clock_of
from tstitch_search.measure.latency import Stand, calibrate, time_allocations
from tstitch_search.measure.memory import memory_of, tensors_mb
from tstitch_search.measurement import Calibrate, TimeAllocations
from tstitch_search.members.device import device_name, resolve_device
from tstitch_search.members.execution import Offload
from tstitch_search.sampling.stitching.stitched_denoiser import StitchedDenoiser
from tstitch_search.sampling.timetable import steps_of

N_REPEATS, N_STEPS, N_LORAS, RANK = 5, 8, 4, 16
BUILD_S = 12.0


def flux_layers(reduced: bool) -> dict[str, tuple[int, int]]:
    """Double and single blocks of two members."""
    return {"small": (1, 1), "large": (1, 2)} if reduced else {"small": (1, 2), "large": (2, 6)}


def flux_tokens(reduced: bool) -> list[int]:
    """Image tokens of 512, 1024, 1536 and 2048 pixels squared: a token stands for 16 x 16 of them."""
    return [16, 64] if reduced else [1024, 4096, 9216, 16384]


def wan_frames(reduced: bool) -> list[tuple[int, int, int]]:
    """Latents (frames, height, width) of 480p and 720p videos, 1, 49 and 81 frames; a token stands for 2 x 2."""
    return [(1, 4, 4), (3, 4, 4)] if reduced else [(1, 60, 104), (13, 60, 104), (21, 60, 104), (21, 90, 160)]


def dtype_of(reduced: bool) -> torch.dtype:
    """bfloat16; a CPU is slow at it."""
    return torch.float32 if reduced else torch.bfloat16


def new_flux(reduced: bool, layers: tuple[int, int], device: torch.device) -> Any:
    """A FLUX of so many double and single blocks."""
    n_heads = 2 if reduced else 24
    small = {"attention_head_dim": 32, "axes_dims_rope": (8, 12, 12)} if reduced else {}
    with _made_on(device, dtype_of(reduced)):
        return (
            FluxTransformer2DModel(
                num_layers=layers[0],
                num_single_layers=layers[1],
                num_attention_heads=n_heads,
                joint_attention_dim=32 if reduced else 4096,
                pooled_projection_dim=32 if reduced else 768,
                guidance_embeds=True,
                **small,
            )
            .requires_grad_(False)
            .eval()
        )


def new_wan(reduced: bool, device: torch.device) -> Any:
    """A Wan of one layer."""
    small = {"num_attention_heads": 2, "attention_head_dim": 24, "ffn_dim": 64, "text_dim": 32} if reduced else {}
    with _made_on(device, dtype_of(reduced)):
        return WanTransformer3DModel(num_layers=1, **small).requires_grad_(False).eval()


class _made_on:
    """Meanwhile modules are made on the device, in this number format."""

    def __init__(self, device: torch.device, dtype: torch.dtype):
        self._device, self._dtype = device, dtype

    def __enter__(self) -> None:
        self._before = torch.get_default_dtype()
        torch.set_default_dtype(self._dtype)
        self._device.__enter__()

    def __exit__(self, *raised: Any) -> None:
        self._device.__exit__(*raised)
        torch.set_default_dtype(self._before)


def flux_inputs(model: Any, n_tokens: int, device: torch.device) -> dict[str, torch.Tensor]:
    """Everything a FLUX is asked with, for one image of so many tokens."""
    config, kind = model.config, {"device": device, "dtype": model.dtype}
    n_text = 512 if config.joint_attention_dim == 4096 else 8
    return {
        "hidden_states": torch.randn(1, n_tokens, config.in_channels, **kind),
        "encoder_hidden_states": torch.randn(1, n_text, config.joint_attention_dim, **kind),
        "pooled_projections": torch.randn(1, config.pooled_projection_dim, **kind),
        "timestep": torch.full((1,), 0.5, **kind),
        "guidance": torch.full((1,), 3.5, device=device, dtype=torch.float32),
        "img_ids": torch.zeros(n_tokens, 3, **kind),
        "txt_ids": torch.zeros(n_text, 3, **kind),
    }


def wan_inputs(model: Any, frames: tuple[int, int, int], device: torch.device) -> dict[str, torch.Tensor]:
    """Everything a Wan is asked with, for one video."""
    n_text = 512 if model.config.text_dim == 4096 else 8
    return {
        "hidden_states": torch.randn(1, 16, *frames, device=device, dtype=model.dtype),
        "timestep": torch.full((1,), 500, device=device, dtype=torch.long),
        "encoder_hidden_states": torch.randn(1, n_text, model.config.text_dim, device=device, dtype=model.dtype),
    }


def estimate(reduced: bool) -> dict[str, Any]:
    """Steps at every token count, and the batches of two calibrations; copies of the members under offload."""
    meta, cost = torch.device("meta"), Cost()
    for _, at in _steps(reduced, meta):
        cost += at * (N_REPEATS + 2)
    flux = cost_of(_asked(new_flux(reduced, flux_layers(reduced)["large"], meta), flux_tokens(reduced)[1], meta))
    cost += flux * (4 * N_STEPS * 30)
    return cost.as_estimate(BUILD_S, "the token counts, and about 120 batches of 8 steps of the larger FLUX")


def _steps(reduced: bool, device: torch.device) -> list[tuple[dict[str, Any], Cost]]:
    """One step's cost for every model and token count, on `meta`."""
    found = []
    flux = new_flux(reduced, flux_layers(reduced)["large"], device)
    for n_tokens in flux_tokens(reduced):
        found.append(({"model": "FLUX", "n_tokens": n_tokens}, cost_of(_asked(flux, n_tokens, device))))
    wan = new_wan(reduced, device)
    for frames in wan_frames(reduced):
        inputs = wan_inputs(wan, frames, device)
        named = {"model": "Wan", "n_tokens": frames[0] * frames[1] * frames[2] // 4}
        found.append((named, cost_of(lambda inputs=inputs: wan(**inputs))))
    return found


def _asked(model: Any, n_tokens: int, device: torch.device) -> Callable[[], torch.Tensor]:
    inputs = flux_inputs(model, n_tokens, device)
    return lambda: model(**inputs, return_dict=False)[0]


@torch.no_grad()
def run(part: Part, reduced: bool) -> None:
    """What matters most first."""
    device = resolve_device("auto")
    part.facts(dtype=str(dtype_of(reduced)), flux_layers=flux_layers(reduced), wan_layers=1, rank=RANK)
    members = {name: new_flux(reduced, layers, device) for name, layers in flux_layers(reduced).items()}
    part.facts(members_mb={name: tensors_mb([member]) for name, member in members.items()})
    n_tokens = flux_tokens(reduced)[1]
    switching(part, members, n_tokens, device, offload=False)
    switching(part, members, n_tokens, device, offload=True)
    tokens(part, reduced, members["large"], device)
    del members
    loras(part, reduced, device, n_tokens)


def tokens(part: Part, reduced: bool, flux: Any, device: torch.device) -> None:
    """Step time against tokens, beside the roofline."""
    floors = {(named["model"], named["n_tokens"]): cost for named, cost in _steps(reduced, torch.device("meta"))}
    for n_tokens in flux_tokens(reduced):
        _step_row(part, "FLUX", n_tokens, _asked(flux, n_tokens, device), floors["FLUX", n_tokens], device)
    wan = new_wan(reduced, device)
    for frames in wan_frames(reduced):
        n_tokens = frames[0] * frames[1] * frames[2] // 4
        inputs = wan_inputs(wan, frames, device)
        work = lambda inputs=inputs: wan(**inputs, return_dict=False)[0]  # noqa: E731
        _step_row(part, "Wan", n_tokens, work, floors["Wan", n_tokens], device)


def _step_row(part: Part, model: str, n_tokens: int, work: Callable[[], Any], cost: Cost, device: torch.device) -> None:
    if not part.has(10 * cost.expected_s + 1, f"{model} with {n_tokens} tokens"):
        return
    clock = clock_of(device)
    work()
    marks = [clock.mark()]
    for _ in range(N_REPEATS):
        work()
        marks.append(clock.mark())
    step_s = median(clock.seconds_between(marks))
    part.row(
        "step",
        model=model,
        n_tokens=n_tokens,
        step_ms=1000 * step_s,
        floor_ms=1000 * cost.floor_s,
        tflop=cost.flops / 1e12,
        tflop_per_s=cost.flops / 1e12 / step_s,
        n_repeats=N_REPEATS,
    )


def switching(part: Part, members: dict[str, Any], n_tokens: int, device: torch.device, offload: bool) -> None:
    """What beginning a segment takes, by the product's own calibration; predictions beside two mixed allocations."""
    how = "offloaded" if offload else "resident"
    if offload and device.type == "cpu":
        how = "offloaded (from memory to memory)"
    if offload:
        members = {name: member.cpu() for name, member in members.items()}
    denoiser = StitchedDenoiser(members)
    if offload:
        denoiser.offload = Offload(members.values(), device)
    scheduler = FlowMatchEulerDiscreteScheduler()
    denoiser.watch(scheduler)
    stand = _stand(members, denoiser, scheduler, n_tokens, device)
    found = calibrate(Calibrate(tuple(members), N_STEPS, N_REPEATS), stand)
    half = N_STEPS // 2
    entries = (Allocation.of([("small", half), ("large", half)]), Allocation.of([("large", half), ("small", half)]))
    times = time_allocations(TimeAllocations(entries, N_REPEATS), stand).times
    mb = {name: tensors_mb([member]) for name, member in members.items()}
    part.row(
        "switching",
        how=how,
        n_tokens=n_tokens,
        step_ms={name: 1000 * s for name, s in found.step_s.items()},
        switch_ms={name: 1000 * s for name, s in found.switch_s.items()},
        switch_se_ms={name: 1000 * s for name, s in found.switch_se.items()},
        copy_floor_ms={name: mb[name] * 1e9 / PEAK_COPY_BYTES for name in members} if offload else None,
        peak_memory_mb=found.peak_memory_mb,
        errors=[time.prediction_error for time in times],
        n_repeats=N_REPEATS,
    )
    if offload:
        assert denoiser.offload is not None
        denoiser.offload.leave()
        for member in members.values():
            member.to(device)


def _stand(
    members: dict[str, Any], denoiser: StitchedDenoiser, scheduler: Any, n_tokens: int, device: torch.device
) -> Stand:
    """Batches of one image: the loop of a flow-matching pipeline, without text encoders and VAE."""
    inputs = flux_inputs(members["large"], n_tokens, device)
    start = inputs.pop("hidden_states")
    timestep = inputs.pop("timestep")

    def run(allocation: Allocation, on_step: Callable[[int], None]) -> None:
        denoiser.set_allocation(allocation)
        denoiser.on_step = on_step
        scheduler.set_timesteps(allocation.n_steps, device=device)
        scheduler.set_begin_index(0)
        latents = start
        for t in scheduler.timesteps:
            answer = denoiser(hidden_states=latents, timestep=timestep, **inputs, return_dict=False)[0]
            latents = scheduler.step(answer, t, latents, return_dict=False)[0]

    mb = {name: tensors_mb([member]) for name, member in members.items()}
    return Stand(
        run=run,
        steps=partial(steps_of, scheduler),
        clock=clock_of(device),
        memory=memory_of(device),
        device=device_name(device),
        batch_size=1,
        weights_mb=mb,
        resident_mb=dict.fromkeys(mb, 0.0) if denoiser.offload else mb,
        shared_mb=0.0,
    )


def loras(part: Part, reduced: bool, device: torch.device, n_tokens: int) -> None:
    """K LoRAs on one base, by peft: their memory, a step without and with one, and changing from one to the next."""
    try:
        from peft import LoraConfig
    except ImportError as error:
        part.not_run("LoRA members", f"peft cannot be imported: {error}")
        return
    if not part.has(1 if reduced else 8, "LoRA members"):
        return
    base = new_flux(reduced, flux_layers(reduced)["large"], device)
    work, clock = _asked(base, n_tokens, device), clock_of(device)
    base_mb, plain_s = tensors_mb([base]), _step_s(work, clock)
    names = [f"lora{i}" for i in range(N_LORAS)]
    config = LoraConfig(r=RANK, lora_alpha=RANK, target_modules=["to_q", "to_k", "to_v", "to_out.0"])
    before = _allocated_mb(device)
    for name in names:
        base.add_adapter(config, adapter_name=name)
    base.requires_grad_(False).to(dtype_of(reduced))
    added_mb, rise_mb = tensors_mb([base]) - base_mb, _allocated_mb(device) - before
    base.set_adapter(names[0])
    with_s, changes = _step_s(work, clock), []
    for name in names[1:] + names[:1]:
        began = time.perf_counter()
        base.set_adapter(name)
        changes.append(time.perf_counter() - began)
    part.row(
        "loras",
        n_loras=N_LORAS,
        rank=RANK,
        base_mb=base_mb,
        added_mb=added_mb,
        allocated_mb=rise_mb if device.type == "cuda" else None,
        copies_mb=N_LORAS * base_mb,
        step_ms=1000 * plain_s,
        step_with_lora_ms=1000 * with_s,
        change_ms=1000 * median(changes),
    )


def _step_s(work: Callable[[], Any], clock: Any) -> float:
    work()
    marks = [clock.mark()]
    for _ in range(N_REPEATS):
        work()
        marks.append(clock.mark())
    return median(clock.seconds_between(marks))


def _allocated_mb(device: torch.device) -> float:
    return torch.cuda.memory_allocated() / 1e6 if device.type == "cuda" else 0.0
