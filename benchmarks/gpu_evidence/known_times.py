"""Part 2: is time known before it is measured? The paper's figure 1 on this device: first DiT-S/2, then DiT-XL/2.

0 to 100 % small. One calibration predicts every allocation; then each is measured end to end. Goals: the median
prediction off by at most 2 %, the worst by at most 5 %. Then the same with each member's step recorded as one CUDA
graph, so that the host does not set the pace, and with members of other kinds in between.
"""

import tempfile
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.gpu_evidence.dits import (
    Pipe,
    Setting,
    as_graph,
    batch_cost,
    compile_blocks,
    new_member,
    new_pipe,
    new_vae,
    setting_of,
    step_inputs,
)
from benchmarks.gpu_evidence.machine import launch_us
from benchmarks.gpu_evidence.record import Part
from benchmarks.gpu_evidence.roofline import Cost
from tstitch_search.allocation import Allocation
from tstitch_search.latency_model import LatencyModel
from tstitch_search.measure.latency import Stand, calibrate, median_se, time_allocations
from tstitch_search.measurement import AllocationTime, Calibrate, TimeAllocations
from tstitch_search.members.changes.accelerators import accelerate
from tstitch_search.members.changes.lora import add_loras, be_adaptable
from tstitch_search.members.changes.lora_files import LoraFile
from tstitch_search.members.changes.twins import twin_of
from tstitch_search.members.device import resolve_device

MEDIAN_GOAL, WORST_GOAL = 0.02, 0.05
FRACTIONS = [i / 10 for i in range(11)]
# What warming up takes, in batches of each member alone, and the seconds that building and compiling may take.
WARM_UP_BATCHES, BUILD_S, COMPILE_S = 3, 8, 25


def step_counts(reduced: bool) -> tuple[int, int]:
    """Few steps, and many."""
    return (3, 5) if reduced else (20, 100)


def sweep_of(small: str, large: str, n_steps: int) -> list[Allocation]:
    """`small` for 0 to 100 % of the steps, then `large`."""
    return list(dict.fromkeys(_mixed(small, large, round(f * n_steps), n_steps) for f in FRACTIONS))


def _mixed(small: str, large: str, n_small: int, n_steps: int) -> Allocation:
    return Allocation.of([(small, n_small), (large, n_steps - n_small)])


def estimate(reduced: bool) -> dict[str, Any]:
    """Batches of the sweep, calibrated, warmed up and repeated, at both paces; twice of what the other members take."""
    setting, total = setting_of(reduced), Cost()
    n_steps = step_counts(reduced)[0]
    for allocation in _sweep_and_b(n_steps):
        n_repeats = 5 + (2 * (5 + WARM_UP_BATCHES) if len(allocation.steps) == 1 else 0)
        total += batch_cost(setting, allocation) * n_repeats
    total += batch_cost(setting, Allocation.of([("XL", n_steps)])) * (3 * 4 * 3)
    how = "a sweep of 12 allocations, and 12 allocations of other kinds; the rest as far as time allows"
    return total.as_estimate(BUILD_S + COMPILE_S, how)


@torch.no_grad()
def run(part: Part, reduced: bool) -> None:
    """The sweep, then the same without the host's pace, then further kinds of members as far as time allows."""
    setting, device = setting_of(reduced), resolve_device("auto")
    n_steps, n_many = step_counts(reduced)
    part.facts(median_goal=MEDIAN_GOAL, worst_goal=WORST_GOAL, batch_size=setting.batch_size, dtype=str(setting.dtype))
    members: dict[str, Any] = {name: new_member(setting, name, device) for name in setting.members}
    vae = new_vae(setting, device)
    if device.type == "cuda":
        part.facts(kernels_ms={name: kernels_ms(setting, member, device) for name, member in members.items()})
    pipe = new_pipe(setting, members, vae, device)
    measure(part, "S, then XL", pipe.stand(), _sweep_and_b(n_steps), 5)
    graphs = {name: as_graph(twin_of(member)) for name, member in members.items()}
    recorded = new_pipe(setting, graphs, vae, device)
    measure(part, "the same as CUDA graphs", recorded.stand(), _sweep_and_b(n_steps), 5)
    other_kinds(part, setting, members, vae, device, n_steps)
    _compiled(part, setting, members, vae, device, n_steps)
    measure(part, "the same as CUDA graphs", recorded.stand(), _sweep_and_b(n_many), 3)
    measure(part, "S, then XL", pipe.stand(), _sweep_and_b(n_many), 3)


def _sweep_and_b(n_steps: int) -> list[Allocation]:
    return [*sweep_of("S", "XL", n_steps), Allocation.of([("B", n_steps)])]


def kernels_ms(setting: Setting, member: Any, device: torch.device) -> float:
    """Milliseconds of a step in which the device computes; the step takes longer where the host launches slowly."""
    inputs = step_inputs(setting, device)
    member(**inputs)
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        member(**inputs)
        torch.cuda.synchronize()
    return sum(event.self_device_time_total for event in profiler.key_averages()) / 1000


def other_kinds(
    part: Part, setting: Setting, members: dict[str, Any], vae: Any, device: torch.device, n_steps: int
) -> None:
    """XL with a cache, without guidance and with a LoRA: each alone and between the others."""
    kinds = {"S": members["S"], "XL+cache": new_member(setting, "XL", device), "XL-free": members["XL"]}
    names = ["XL+cache", "XL-free"]
    forget = accelerate(kinds["XL+cache"], "taylorseer3", "XL+cache")
    if find_spec("peft") is None:
        part.not_run("LoRA member", "peft is not installed")
    else:
        kinds["XL+lora"] = with_lora(members["XL"])
        names.append("XL+lora")
    pipe = new_pipe(setting, {**kinds, "XL": members["XL"]}, vae, device, {"XL-free": 1.0})
    pipe.denoiser.at_turn["XL+cache"] = forget
    allocations = [a for name in names for a in between("S", name, "XL", n_steps)]
    measure(part, "cache, guidance-free and LoRA members", pipe.stand(), allocations, 3)


def with_lora(member: Any) -> Any:
    """A member of the same weights with a random LoRA of rank 16, loaded from a file as the product loads it."""
    from peft import LoraConfig

    maker = twin_of(member)
    be_adaptable(maker)
    maker.add_adapter(LoraConfig(r=16, lora_alpha=16, target_modules=["to_q", "to_k", "to_v", "to_out.0"]))
    changed = twin_of(member)
    with tempfile.TemporaryDirectory() as folder:
        maker.save_lora_adapter(folder)
        path = next(Path(folder).glob("*.safetensors"))
        add_loras(changed, [LoraFile(path, "random", 1.0)], None, "transformer", "XL+lora")
    return changed


def _compiled(
    part: Part, setting: Setting, members: dict[str, Any], vae: Any, device: torch.device, n_steps: int
) -> None:
    """S+compiled, which is where the host's launches count the most."""
    if not part.has(1 if setting.latent_size < 32 else COMPILE_S, "compiled member"):
        return
    compiled = twin_of(members["S"])
    compile_blocks(compiled, setting)
    pipe: Pipe = new_pipe(setting, {"S+compiled": compiled, "XL": members["XL"]}, vae, device)
    began = part.left_s
    pipe.run(Allocation.of([("S+compiled", 1)]))
    part.facts(compile_s=round(began - part.left_s, 2))
    measure(part, "compiled member", pipe.stand(), sweep_of("S+compiled", "XL", n_steps)[::2], 3)


def between(small: str, middle: str, large: str, n_steps: int) -> list[Allocation]:
    """Allocations in which the middle member has all, the beginning, the end, or a run in the middle of the steps."""
    third, half = n_steps // 3, n_steps // 2
    return [
        Allocation.of([(middle, n_steps)]),
        Allocation.of([(small, half), (middle, n_steps - half)]),
        Allocation.of([(middle, half), (large, n_steps - half)]),
        Allocation.of([(small, third), (middle, third), (large, n_steps - 2 * third)]),
    ]


def measure(part: Part, what: str, stand: Stand, allocations: Sequence[Allocation], n_repeats: int) -> None:
    """The calibration of the members, then every allocation as predicted and as measured."""
    n_steps = allocations[0].n_steps
    names = tuple(dict.fromkeys(name for allocation in allocations for name in allocation.steps))
    latency = LatencyModel(calibrate(Calibrate(names, n_steps, n_repeats), stand))
    part.row("calibration", what=what, n_steps=n_steps, launch_us=launch_us(), **_parts(latency))
    alone_s = sum(latency.latency_s(Allocation.of([(name, n_steps)])) for name in names)
    repeat_s = alone_s * (1 + 1 / len(names)) + sum(map(latency.latency_s, allocations))
    fitting = int((0.9 * part.left_s - WARM_UP_BATCHES * alone_s) / repeat_s)
    if fitting < 3 and not part.has(3 * repeat_s + WARM_UP_BATCHES * alone_s, f"{what}, {n_steps} steps: the sweep"):
        return
    times = time_allocations(TimeAllocations(tuple(allocations), max(3, min(n_repeats, fitting))), stand).times
    rows = [_row(a, time, latency) for a, time in zip(allocations, times, strict=True)]
    for row in rows:
        part.row("time", what=what, n_steps=n_steps, **row)
    part.row("errors", what=what, n_steps=n_steps, launch_us=launch_us(), **_summary(rows))


def _parts(latency: LatencyModel) -> dict[str, Any]:
    c = latency.calibration
    return {
        "step_ms": {name: 1000 * s for name, s in c.step_s.items()},
        "step_se_ms": {name: 1000 * s for name, s in c.step_se.items()},
        "switch_ms": {name: 1000 * s for name, s in c.switch_s.items()},
        "fixed_ms": 1000 * c.fixed_s,
        "spread": c.spread,
        "memory_mb": c.member_memory_mb,
        "n_repeats": c.n_repeats,
    }


def _row(allocation: Allocation, time: AllocationTime, latency: LatencyModel) -> dict[str, Any]:
    """An allocation's times: from the calibration and measured; `error_within_job`: from the steps of the same job."""
    predicted_s = latency.latency_s(allocation)
    return {
        "allocation": str(allocation),
        "predicted_s": predicted_s,
        "measured_s": time.latency_s,
        "measured_se": median_se(time.seconds),
        "error": time.latency_s / predicted_s - 1,
        "error_within_job": time.prediction_error,
        "peak_memory_mb": time.peak_memory_mb,
        "n_repeats": len(time.seconds),
    }


def _summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    errors = [abs(row["error"]) for row in rows]
    return {"median": median(errors), "worst": max(errors), "n": len(errors)}
