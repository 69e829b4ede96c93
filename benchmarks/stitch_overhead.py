"""What stitching adds to a sampling step on the CPU. Writes results/stitch_overhead.{json,md}.

    uv run python benchmarks/stitch_overhead.py

The same denoiser calls twice: by hand in the shortest loop that samples, and through a StitchedDenoiser with a watched
solver, half the steps to each of two members. A member does one multiplication, so that almost nothing but the calls
is left. Time is the process's own (`time.process_time`), so that other work on the machine hardly counts; the two ways
take turns, and each repeat gives one difference.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median, quantiles

import torch
from diffusers import DDIMScheduler
from torch import nn

from tstitch_search.allocation import Allocation
from tstitch_search.sampling.stitching.stitched_denoiser import StitchedDenoiser
from tstitch_search.study_run.folder import environment

RESULTS = Path(__file__).parent / "results"
N_STEPS, N_REPEATS = 100, 101
GOAL_MS = 0.2


class Product(nn.Module):
    """The cheapest denoiser: it multiplies."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(0.1))

    def forward(self, latents: torch.Tensor, timestep: torch.Tensor) -> tuple[torch.Tensor]:
        return (latents * self.factor,)


def by_hand(members: dict[str, nn.Module], steps: tuple[str, ...]) -> Callable[[], None]:
    """A loop that calls the members itself."""
    scheduler = DDIMScheduler(clip_sample=False)

    def sample() -> None:
        latents = torch.ones(1, 4, 8, 8)
        scheduler.set_timesteps(len(steps))
        for name, t in zip(steps, scheduler.timesteps, strict=True):
            scaled = scheduler.scale_model_input(latents, t)
            latents = scheduler.step(members[name](scaled, timestep=t)[0], t, latents).prev_sample

    return sample


def stitched(members: dict[str, nn.Module], allocation: Allocation) -> Callable[[], None]:
    """The loop of a stock pipeline, which asks one denoiser."""
    scheduler, denoiser = DDIMScheduler(clip_sample=False), StitchedDenoiser(members)
    denoiser.watch(scheduler)
    denoiser.set_allocation(allocation)

    def sample() -> None:
        latents = torch.ones(1, 4, 8, 8)
        scheduler.set_timesteps(allocation.n_steps)
        for t in scheduler.timesteps:
            scaled = scheduler.scale_model_input(latents, t)
            latents = scheduler.step(denoiser(scaled, timestep=t)[0], t, latents).prev_sample

    return sample


def ms_per_step(sample: Callable[[], None]) -> float:
    """CPU milliseconds of one sampling step."""
    started = time.process_time()
    sample()
    return (time.process_time() - started) * 1000 / N_STEPS


@torch.no_grad()
def main() -> None:
    torch.set_num_threads(1)
    members: dict[str, nn.Module] = {"S": Product(), "XL": Product()}
    allocation = Allocation.of([("S", N_STEPS // 2), ("XL", N_STEPS // 2)])
    hand, stitch = by_hand(members, allocation.by_step), stitched(members, allocation)
    pairs = [(ms_per_step(hand), ms_per_step(stitch)) for _ in range(N_REPEATS)][1:]
    added = [b - a for a, b in pairs]
    quartiles = quantiles(added, n=4)
    document = {
        "n_repeats": len(pairs),
        "n_steps": N_STEPS,
        "by_hand_ms_per_step": median(a for a, _ in pairs),
        "stitched_ms_per_step": median(b for _, b in pairs),
        "added_ms_per_step": median(added),
        "added_quartiles_ms": [quartiles[0], quartiles[2]],
        "goal_ms": GOAL_MS,
        "environment": environment(),
    }
    (RESULTS / "stitch_overhead.json").write_text(json.dumps(document, indent=2) + "\n")
    (RESULTS / "stitch_overhead.md").write_text(page(document))
    print(page(document))


def page(document: dict) -> str:
    """The results as Markdown."""
    low, high = document["added_quartiles_ms"]
    return "\n".join(
        [
            "# What stitching adds to a sampling step",
            "",
            f"{document['n_repeats']} repeats of {document['n_steps']} DDIM steps with two members of one",
            "multiplication each, CPU time of one thread. Command: `uv run python benchmarks/stitch_overhead.py`.",
            "",
            "| | ms per step |",
            "|---|---|",
            f"| the same calls by hand | {document['by_hand_ms_per_step']:.4f} |",
            f"| stitched | {document['stitched_ms_per_step']:.4f} |",
            f"| added, median (quartiles) | {document['added_ms_per_step']:.4f} ({low:.4f} to {high:.4f}) |",
            f"| goal | {document['goal_ms']} |",
            "",
        ]
    )


if __name__ == "__main__":
    main()
