"""Part 3: time known before it is measured, of members of other kinds: a cache, no guidance, a LoRA, a compiler.

As in part 2, each alone and between others. All but the cache, which decides anew at every step, are CUDA graphs, and
the compiled member, whose blocks torch compiles.
"""

import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu_evidence.dits import (
    Setting,
    as_graph,
    batch_cost,
    compile_blocks,
    new_member,
    new_pipe,
    new_vae,
    setting_of,
)
from benchmarks.gpu_evidence.known_times import BUILD_S, measure, step_counts, sweep_of
from benchmarks.gpu_evidence.record import Part
from tstitch_search.allocation import Allocation
from tstitch_search.members.changes.accelerators import accelerate
from tstitch_search.members.changes.lora import add_loras, be_adaptable
from tstitch_search.members.changes.lora_files import LoraFile
from tstitch_search.members.changes.twins import twin_of
from tstitch_search.members.device import resolve_device

N_REPEATS, COMPILE_S = 3, 25


def estimate(reduced: bool) -> dict[str, Any]:
    """Twelve allocations, six batches more of each round, and the compiled member's own sweep."""
    cost = batch_cost(setting_of(reduced), Allocation.of([("XL", step_counts(reduced)[0])]))
    n_batches = N_REPEATS * (12 + 6 + 6) + 20
    how = f"{n_batches} batches at most as long as XL's, a quarter of them at the host's pace, the rest at the device's"
    expected_s = n_batches * (cost.expected_s / 4 + cost.floor_s) + BUILD_S + COMPILE_S
    return {"floor_s": round(n_batches * cost.floor_s, 2), "expected_s": round(expected_s, 1), "how": how}


@torch.no_grad()
def run(part: Part, reduced: bool) -> None:
    """All kinds in one calibration, then the compiled member, if time allows."""
    setting, device = setting_of(reduced), resolve_device("auto")
    part.facts(batch_size=setting.batch_size, dtype=str(setting.dtype))
    members: dict[str, Any] = {name: new_member(setting, name, device) for name in ("S", "XL")}
    vae, n_steps = new_vae(setting, device), step_counts(reduced)[0]
    other_kinds(part, setting, members, vae, device, n_steps)
    if not part.has(1 if reduced else COMPILE_S, "compiled member"):
        return
    compiled = twin_of(members["S"])
    compile_blocks(compiled, setting)
    pipe = new_pipe(setting, {"S+compiled": compiled, "XL": as_graph(members["XL"])}, vae, device)
    began = part.left_s
    pipe.run(Allocation.of([("S+compiled", 1)]))
    part.facts(compile_s=round(began - part.left_s, 2))
    measure(part, "compiled member", pipe.stand(), sweep_of("S+compiled", "XL", n_steps)[::2], N_REPEATS)


def other_kinds(
    part: Part, setting: Setting, members: dict[str, Any], vae: Any, device: torch.device, n_steps: int
) -> None:
    """XL with a cache, without guidance and with a LoRA: each alone and between the others."""
    graphs = {name: as_graph(twin_of(member)) for name, member in members.items()}
    kinds = {"S": graphs["S"], "XL+cache": twin_of(members["XL"]), "XL-free": graphs["XL"]}
    names = ["XL+cache", "XL-free"]
    forget = accelerate(kinds["XL+cache"], "taylorseer3", "XL+cache")
    if find_spec("peft") is None:
        part.not_run("LoRA member", "peft is not installed")
    else:
        kinds["XL+lora"] = as_graph(with_lora(members["XL"]))
        names.append("XL+lora")
    pipe = new_pipe(setting, {**kinds, "XL": graphs["XL"]}, vae, device, {"XL-free": 1.0})
    pipe.denoiser.at_turn["XL+cache"] = forget
    allocations = [a for name in names for a in between("S", name, "XL", n_steps)]
    measure(part, "cache, guidance-free and LoRA members", pipe.stand(["XL+cache"]), allocations, N_REPEATS)


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


def between(small: str, middle: str, large: str, n_steps: int) -> list[Allocation]:
    """Allocations in which the middle member has all, the beginning, the end, or a run in the middle of the steps."""
    third, half = n_steps // 3, n_steps // 2
    return [
        Allocation.of([(middle, n_steps)]),
        Allocation.of([(small, half), (middle, n_steps - half)]),
        Allocation.of([(middle, half), (large, n_steps - half)]),
        Allocation.of([(small, third), (middle, third), (large, n_steps - 2 * third)]),
    ]
