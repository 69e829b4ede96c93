"""Part 2: is time known before it is measured? The paper's figure 1 on this device: first DiT-S/2, then DiT-XL/2.

0 to 100 % small. One calibration predicts every allocation; then each is measured end to end. Goals: the median
prediction off by at most 2 %, the worst by at most 5 %. Then the same with each member's step recorded as one CUDA
graph, so that the host does not set the pace.
"""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.gpu_evidence.dits import (
    Setting,
    as_graph,
    batch_cost,
    new_member,
    new_pipe,
    new_vae,
    setting_of,
    step_inputs,
)
from benchmarks.gpu_evidence.machine import launch_us
from benchmarks.gpu_evidence.record import Part
from benchmarks.gpu_evidence.roofline import EFFICIENCY, Cost
from tstitch_search.allocation import Allocation
from tstitch_search.latency_model import LatencyModel
from tstitch_search.measure.latency import Stand, calibrate, median_se, time_allocations
from tstitch_search.measurement import AllocationTime, Calibrate, TimeAllocations
from tstitch_search.members.changes.twins import twin_of
from tstitch_search.members.device import resolve_device

MEDIAN_GOAL, WORST_GOAL = 0.02, 0.05
FRACTIONS = [i / 10 for i in range(11)]
# What warming up takes, in batches of each member alone, and the seconds that building takes.
WARM_UP_BATCHES, BUILD_S = 3, 8


def step_counts(reduced: bool) -> tuple[int, int]:
    """Few steps, and many."""
    return (3, 5) if reduced else (20, 100)


def sweep_of(small: str, large: str, n_steps: int) -> list[Allocation]:
    """`small` for 0 to 100 % of the steps, then `large`."""
    return list(dict.fromkeys(_mixed(small, large, round(f * n_steps), n_steps) for f in FRACTIONS))


def _mixed(small: str, large: str, n_small: int, n_steps: int) -> Allocation:
    return Allocation.of([(small, n_small), (large, n_steps - n_small)])


def estimate(reduced: bool) -> dict[str, Any]:
    """Batches of the sweep, calibrated, warmed up and repeated, at both paces."""
    setting, slow, fast = setting_of(reduced), Cost(), Cost()
    n_steps, n_many = step_counts(reduced)
    for allocation in _sweep_and_b(n_steps):
        slow += batch_cost(setting, allocation) * _n_batches(allocation, 5)
    for allocation in _sweep_and_b(n_many):
        fast += batch_cost(setting, allocation) * _n_batches(allocation, 3)
    floor_s = slow.floor_s * 2 + fast.floor_s
    how = "two sweeps of 12 allocations of 20 steps, of which one waits for the host, and one of 100 steps"
    expected_s = slow.expected_s + (slow.floor_s + fast.floor_s) / EFFICIENCY + BUILD_S
    return {"floor_s": round(floor_s, 2), "expected_s": round(expected_s, 1), "how": how}


def _n_batches(allocation: Allocation, n_repeats: int) -> int:
    """Of a denoiser alone, also those of the calibration and beside the sweep, warmed up before."""
    return n_repeats + (len(allocation.steps) == 1) * 2 * (n_repeats + WARM_UP_BATCHES)


@torch.no_grad()
def run(part: Part, reduced: bool) -> None:
    """The sweep, then the same without the host's pace, with few steps and with many."""
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
