"""Part 4: what the stitched pipeline takes beyond the same calls by hand. Goal: at most 1 % more."""

import copy
import time
from collections.abc import Callable
from statistics import median, quantiles
from typing import Any

import torch
from diffusers import DDIMScheduler

from benchmarks.gpu_evidence.dits import (
    GUIDANCE_SCALE,
    Pipe,
    as_graph,
    batch_cost,
    by_hand,
    compile_blocks,
    new_member,
    new_pipe,
    new_vae,
    setting_of,
)
from benchmarks.gpu_evidence.record import Part
from tstitch_search.allocation import Allocation
from tstitch_search.members.changes.twins import twin_of
from tstitch_search.members.device import resolve_device

GOAL = 0.01
COMPILE_S = 20.0


def sizes(reduced: bool) -> tuple[int, int, tuple[int, ...]]:
    """Steps of an allocation, pairs of batches, batch sizes."""
    return (4, 3, (1, 2)) if reduced else (20, 8, (8, 1))


def allocation_of(reduced: bool) -> Allocation:
    n_steps = sizes(reduced)[0]
    return Allocation.of([("S", n_steps // 2), ("B", n_steps - n_steps // 2)])


def estimate(reduced: bool) -> dict[str, Any]:
    """Twice as many batches as pairs, of both sizes; those of one image take as long as the host needs."""
    _, n_pairs, batch_sizes = sizes(reduced)
    cost = batch_cost(setting_of(reduced), allocation_of(reduced)) * (2 * n_pairs * len(batch_sizes) * 2)
    return cost.as_estimate(COMPILE_S, "stitched and by hand in turns, eager and compiled, two batch sizes")


@torch.no_grad()
def run(part: Part, reduced: bool) -> None:
    """S and B, each half of the steps, where the host's part is the largest; eager, as CUDA graphs, compiled."""
    setting, device = setting_of(reduced), resolve_device("auto")
    n_steps, n_pairs, batch_sizes = sizes(reduced)
    part.facts(goal=GOAL, n_steps=n_steps)
    members: dict[str, Any] = {name: new_member(setting, name, device) for name in ("S", "B")}
    pipe = new_pipe(setting, members, new_vae(setting, device), device)
    graphs = {name: as_graph(twin_of(member)) for name, member in members.items()}
    recorded = new_pipe(setting, graphs, pipe.pipeline.vae, device)
    for how, at in (("CUDA graphs", recorded), ("eager", pipe)):
        against_stock(part, how, at, n_steps, n_pairs)
        for batch_size in batch_sizes:
            compare(part, how, at.with_batch(batch_size), allocation_of(reduced), n_pairs)
    if not part.has(1 if reduced else COMPILE_S, "compiled"):
        return
    for member in members.values():
        compile_blocks(member, setting)
    for batch_size in batch_sizes:
        compare(part, "compiled", pipe.with_batch(batch_size), allocation_of(reduced), n_pairs)


def compare(part: Part, how: str, pipe: Pipe, allocation: Allocation, n_pairs: int) -> None:
    """One row: both ways in turns, after one batch of each."""
    began = part.left_s
    hand, stitched = by_hand(pipe, allocation), pipe.run(allocation)
    warm_up_s = began - part.left_s
    part.row(
        "overhead",
        how=how,
        batch_size=pipe.setting.batch_size,
        **in_turns(lambda: by_hand(pipe, allocation), lambda: pipe.run(allocation), n_pairs),
        same_images=bool(torch.equal(hand, stitched)),
        warm_up_s=round(warm_up_s, 2),
    )


def against_stock(part: Part, how: str, pipe: Pipe, n_steps: int, n_pairs: int) -> None:
    """What stitching adds to the pipeline itself: S alone as its denoiser, and stitched with S taking all steps."""
    stock = copy.copy(pipe.pipeline)
    stock.scheduler = DDIMScheduler(clip_sample=False)
    stock.register_modules(transformer=pipe.denoiser.members[pipe.denoiser.names.index("S")])
    alone = Allocation.of([("S", n_steps)])

    def with_stock() -> torch.Tensor:
        arguments = {"guidance_scale": GUIDANCE_SCALE, "num_inference_steps": n_steps, "output_type": "pt"}
        return stock(pipe.labels(), generator=pipe.generators(), **arguments).images

    same = bool(torch.equal(with_stock(), pipe.run(alone)))
    found = in_turns(with_stock, lambda: pipe.run(alone), n_pairs)
    part.row("stock", how=how, batch_size=pipe.setting.batch_size, **found, same_images=same)


def in_turns(first: Callable[[], object], second: Callable[[], object], n_pairs: int) -> dict[str, Any]:
    """What the second takes beyond the first: medians over pairs, of which either begins every other one."""
    ways, pairs = (first, second), []
    for i in range(n_pairs):
        seconds = {way: _seconds(ways[way]) for way in ((0, 1) if i % 2 == 0 else (1, 0))}
        pairs.append((seconds[0], seconds[1]))
    added = [b / a - 1 for a, b in pairs]
    low, _, high = quantiles(added, n=4)
    return {
        "by_hand_s": median(a for a, _ in pairs),
        "stitched_s": median(b for _, b in pairs),
        "added": median(added),
        "added_ms": 1000 * median(b - a for a, b in pairs),
        "added_quartiles": [low, high],
        "n_pairs": n_pairs,
    }


def _seconds(work: Callable[[], object]) -> float:
    _synchronize()
    started = time.perf_counter()
    work()
    _synchronize()
    return time.perf_counter() - started


def _synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
