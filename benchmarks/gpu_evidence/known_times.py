"""Part 2: is time known before it is measured? The paper's figure 1 on this device: first DiT-S/2, then DiT-XL/2.

0 to 100 % small. One calibration predicts every allocation; then each is measured end to end. Goals: the median
prediction off by at most 2 %, the worst by at most 5 %. Then the same with members of other kinds in between.
"""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

import torch

from benchmarks.gpu_evidence.dits import Pipe, Setting, batch_cost, compiler, new_member, new_pipe, new_vae, setting_of
from benchmarks.gpu_evidence.record import Part
from benchmarks.gpu_evidence.roofline import Cost
from tstitch_search.allocation import Allocation
from tstitch_search.latency_model import LatencyModel
from tstitch_search.measure.latency import Stand, calibrate, median_se, time_allocations
from tstitch_search.measurement import AllocationTime, Calibrate, TimeAllocations
from tstitch_search.members.changes.accelerators import accelerate
from tstitch_search.members.device import resolve_device

MEDIAN_GOAL, WORST_GOAL = 0.02, 0.05
FRACTIONS = [i / 10 for i in range(11)]
# What warming up takes, in batches of each member alone, and the seconds that building and compiling may take.
WARM_UP_BATCHES, BUILD_S, COMPILE_S = 3, 8, 45


def step_counts(reduced: bool) -> dict[int, int]:
    """Repeats by number of steps."""
    return {3: 3, 5: 3} if reduced else {20: 5, 100: 3}


def sweep_of(small: str, large: str, n_steps: int) -> list[Allocation]:
    """`small` for 0 to 100 % of the steps, then `large`."""
    return list(dict.fromkeys(_mixed(small, large, round(f * n_steps), n_steps) for f in FRACTIONS))


def _mixed(small: str, large: str, n_small: int, n_steps: int) -> Allocation:
    return Allocation.of([(small, n_small), (large, n_steps - n_small)])


def estimate(reduced: bool) -> dict[str, Any]:
    """Batches of the sweeps, each calibrated, warmed up and repeated."""
    setting, total = setting_of(reduced), Cost()
    for n_steps, n_repeats in step_counts(reduced).items():
        alone = [Allocation.of([(name, n_steps)]) for name in setting.members]
        n_alone = 2 * (n_repeats + WARM_UP_BATCHES)  # while calibrating, and beside the sweep
        for allocation in alone:
            total += batch_cost(setting, allocation) * n_alone
        for allocation in (*sweep_of("S", "XL", n_steps), *alone[1:]):
            total += batch_cost(setting, allocation) * n_repeats
    how = "two sweeps of 11 allocations and three members alone, without the kinds of members that follow"
    return total.as_estimate(BUILD_S + COMPILE_S, how)


@torch.no_grad()
def run(part: Part, reduced: bool) -> None:
    """The sweeps, then each further kind of member as far as time allows."""
    setting, device = setting_of(reduced), resolve_device("auto")
    part.facts(median_goal=MEDIAN_GOAL, worst_goal=WORST_GOAL, batch_size=setting.batch_size, dtype=str(setting.dtype))
    members: dict[str, Any] = {name: new_member(setting, name, device) for name in setting.members}
    vae = new_vae(setting, device)
    pipe = new_pipe(setting, members, vae, device)
    for n_steps, n_repeats in step_counts(reduced).items():
        sweep = [*sweep_of("S", "XL", n_steps), Allocation.of([("B", n_steps)])]
        measure(part, "S, then XL", pipe.stand(), sweep, n_repeats)
    n_steps, n_repeats = next(iter(step_counts(reduced).items()))
    cached = new_member(setting, "XL", device)
    forget = accelerate(cached, "taylorseer3", "XL+taylorseer3")
    pipe = new_pipe(setting, {"S": members["S"], "XL+taylorseer3": cached, "XL": members["XL"]}, vae, device)
    pipe.denoiser.at_turn["XL+taylorseer3"] = forget
    measure(part, "cache member", pipe.stand(), between("S", "XL+taylorseer3", "XL", n_steps), n_repeats)
    del cached, pipe
    twice = {"S": members["S"], "XL-free": members["XL"], "XL": members["XL"]}
    pipe = new_pipe(setting, twice, vae, device, {"XL-free": 1.0})
    measure(part, "guidance-free member", pipe.stand(), between("S", "XL-free", "XL", n_steps), n_repeats)
    del twice, pipe
    part.not_run("LoRA member", "this part builds its members itself, and a LoRA member is loaded from files")
    _compiled(part, setting, members, vae, device, n_steps, n_repeats)


def _compiled(
    part: Part, setting: Setting, members: dict[str, Any], vae: Any, device: torch.device, n_steps: int, n_repeats: int
) -> None:
    """S+compiled, which is where the host's launches count the most."""
    if not part.has(1 if setting.latent_size < 32 else COMPILE_S / 2, "compiled member"):
        return
    compiled = new_member(setting, "S", device)
    compiled.compile(backend=compiler(setting))
    pipe: Pipe = new_pipe(setting, {"S+compiled": compiled, "XL": members["XL"]}, vae, device)
    began = part.left_s
    pipe.run(Allocation.of([("S+compiled", 1)]))
    part.facts(compile_s=round(began - part.left_s, 2))
    measure(part, "compiled member", pipe.stand(), sweep_of("S+compiled", "XL", n_steps)[::2], n_repeats)


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
    part.row("calibration", what=what, n_steps=n_steps, **_parts(latency))
    alone_s = sum(latency.latency_s(Allocation.of([(name, n_steps)])) for name in names)
    repeat_s = alone_s * (1 + 1 / len(names)) + sum(map(latency.latency_s, allocations))
    fitting = int((0.9 * part.left_s - WARM_UP_BATCHES * alone_s) / repeat_s)
    if fitting < 3 and not part.has(3 * repeat_s + WARM_UP_BATCHES * alone_s, f"{what}, {n_steps} steps: the sweep"):
        return
    times = time_allocations(TimeAllocations(tuple(allocations), max(3, min(n_repeats, fitting))), stand).times
    rows = [_row(a, time, latency) for a, time in zip(allocations, times, strict=True)]
    for row in rows:
        part.row("time", what=what, n_steps=n_steps, **row)
    part.row("errors", what=what, n_steps=n_steps, **_summary(rows))


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
