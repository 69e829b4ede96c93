"""How well the time of allocations with cached members is predicted, on the embedded models, in CPU seconds.

    OMP_NUM_THREADS=1 uv run python benchmarks/cached_times.py

Members: XL, the same with TaylorSeer (`taylorseer3`), S; turns of every length, and a cached turn between others. One
thread and its CPU time, so that other work on the machine disturbs little. For each allocation the median over rounds
of measured over predicted, the prediction being of the same round; and the same by means alone, without the place in
the turn. Writes benchmarks/results/cached_times.md.
"""

import os
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from statistics import median

import torch

from tstitch_search.allocation import Allocation
from tstitch_search.config import load_study
from tstitch_search.measure.latency import Stand, Timed, _interleaved
from tstitch_search.measure.memory import memory_of
from tstitch_search.members.changes.accelerators import accelerate
from tstitch_search.members.changes.twins import twin_of
from tstitch_search.members.device import device_name
from tstitch_search.sampling.assembly import assemble
from tstitch_search.sampling.conditions import Condition
from tstitch_search.sampling.stitching.stitched_denoiser import StitchedDenoiser

ROOT = Path(__file__).parent.parent
RESULT = ROOT / "benchmarks" / "results" / "cached_times.md"
N_STEPS, N_ROUNDS, BATCH_SIZE = 20, 9, 8
CACHED = "XL-taylor"
ENTRIES = [
    *(f"S*{N_STEPS - n}-{CACHED}*{n}" for n in (2, 5, 10, 15, 18)),
    f"{CACHED}*5-XL*15",
    f"{CACHED}*10-S*10",
    f"S*5-{CACHED}*10-XL*5",
    f"{CACHED}*4-S*4-{CACHED}*4-S*4-{CACHED}*4",
]


class CpuSeconds:
    """CPU time of this thread."""

    def mark(self) -> float:
        return time.thread_time()

    def seconds_between(self, marks: Sequence[float]) -> list[float]:
        return [b - a for a, b in pairwise(marks)]


def stand() -> Stand:
    """The embedded family's S, XL and XL with a cache, on this CPU."""
    made = assemble(load_study(ROOT / "studies" / "quickstart.yaml"), torch.device("cpu"))
    plain, cached = made.denoiser.member("XL"), twin_of(made.denoiser.member("XL"))
    denoiser = StitchedDenoiser({"S": made.denoiser.member("S"), CACHED: cached, "XL": plain})
    denoiser.at_turn[CACHED] = accelerate(cached, "taylorseer3", CACHED)
    made.pipeline.transformer = denoiser
    denoiser.watch(made.pipeline.scheduler)

    def run(allocation: Allocation, on_step: object) -> None:
        denoiser.set_allocation(allocation)
        denoiser.on_step = on_step  # type: ignore[assignment]
        generators = [torch.Generator().manual_seed(i) for i in range(BATCH_SIZE)]
        conditions = [Condition(i) for i in range(BATCH_SIZE)]
        made.family.sample(made.pipeline, conditions, generators, allocation.n_steps, 1.0)

    cpu = torch.device("cpu")
    nothing = dict.fromkeys(denoiser.names, 0.0)
    return Stand(
        run,
        lambda n: [],
        CpuSeconds(),
        memory_of(cpu),
        device_name(cpu),
        BATCH_SIZE,
        nothing,
        nothing,
        shared_mb=0.0,
        remembering=frozenset({CACHED}),
    )


def errors(timed: Timed, entry: int, *, by_place: bool) -> list[float]:
    """Measured over predicted, less 1, round by round."""
    found = []
    for batches in timed.rounds:
        parts = timed.parts(batches)
        batch = timed.entries(batches)[entry]
        predicted = (parts if by_place else replace(parts, places={})).latency_s(batch.allocation)
        found.append(batch.total_s / predicted - 1)
    return found


def main() -> None:
    """Measure and write the page."""
    torch.set_num_threads(1)
    at = stand()
    entries = [Allocation.parse(text) for text in ENTRIES]
    timed = _interleaved(("S", CACHED, "XL"), N_STEPS, entries, N_ROUNDS, at)
    rows, by_place, by_mean = [], [], []
    for i, text in enumerate(ENTRIES):
        place, mean = (median(errors(timed, i, by_place=flag)) for flag in (True, False))
        by_place.append(abs(place))
        by_mean.append(abs(mean))
        seconds = median(timed.entries(batches)[i].total_s for batches in timed.rounds)
        rows.append(f"| `{text}` | {seconds:.3f} | {place:+.1%} | {mean:+.1%} |")
    text = [
        "# Predicted and measured times with a cached member",
        "",
        "`OMP_NUM_THREADS=1 uv run python benchmarks/cached_times.py`: the embedded XL with `taylorseer3`, beside XL",
        f"and S; {N_STEPS} steps, batches of {BATCH_SIZE}, {N_ROUNDS} interleaved rounds, warm. CPU seconds of one",
        f"thread on {at.device} ({os.cpu_count()} cores, which other work shared), not wall time.",
        "",
        "The error is measured over predicted, less 1, median over rounds; the prediction takes the denoisers alone in",
        "the same round. *By place* is what the program does: of a cached member it knows how long each step of a turn",
        "takes. *By the mean* is what a single time for a step would give.",
        "",
        "| allocation | CPU seconds | by place | by the mean |",
        "|---|---|---|---|",
        *rows,
        "",
        f"Median of the absolute errors: {median(by_place):.1%} by place, {median(by_mean):.1%} by the mean; at worst "
        f"{max(by_place):.1%} and {max(by_mean):.1%}. n = {len(ENTRIES)} allocations.",
        "",
    ]
    RESULT.write_text("\n".join(text))
    print("\n".join(text))


if __name__ == "__main__":
    main()
