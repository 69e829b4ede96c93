"""Which training timesteps an allocation leaves to a member (T-Stitch, arXiv 2402.14167, appendix A.12). No torch.

A segment of sampling steps first..last becomes the closed interval of training timesteps from that at which the solver
asks in step `last` to that in step `first`, each rounded to the nearest whole one: all noise levels between the first
and the last that the member sees there. A member with several segments has the union. Timesteps between two segments
belong to neither: nobody is asked there.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from tstitch_search.allocation import Allocation
from tstitch_search.members.noise_process import NoiseProcess
from tstitch_search.members.noise_schedule import matching_timesteps

# First and last training timestep, both included.
Interval = tuple[int, int]


def intervals_of(member: str, allocation: Allocation, timesteps: Sequence[Sequence[float]], n: int) -> list[Interval]:
    """The member's intervals within 0..n-1, apart from each other and ascending; none where it takes no step.

    `timesteps[i]`: those at which sampling step i asks, in the member's own counting.
    """
    merged: list[Interval] = []
    for first, last in sorted(_of_segments(member, allocation, timesteps)):
        low, high = max(first, 0), min(last, n - 1)
        if merged and low <= merged[-1][1] + 1:
            low, high = merged[-1][0], max(high, merged.pop()[1])
        merged.append((low, high))
    return merged


def _of_segments(member: str, allocation: Allocation, timesteps: Sequence[Sequence[float]]) -> Iterator[Interval]:
    begin = 0
    for segment in allocation.segments:
        asked = [t for step in timesteps[begin : begin + segment.n_steps] for t in step]
        begin += segment.n_steps
        if segment.denoiser == member:
            yield round(min(asked)), round(max(asked))


def n_timesteps(noise: NoiseProcess) -> int:
    """Training timesteps 0..n-1: of flow matching also T itself, where there is noise alone."""
    return noise.num_train_timesteps + (noise.beta_schedule == "flow")


def in_terms_of(
    member: NoiseProcess, trajectory: NoiseProcess, timesteps: Sequence[Sequence[float]]
) -> list[tuple[float, ...]]:
    """The trajectory's timesteps as the member is asked them: those of equal log-SNR, where its process is another."""
    if member == trajectory:
        return [tuple(step) for step in timesteps]
    own = matching_timesteps(trajectory, member)
    return [tuple(float(t) for t in np.interp(step, np.arange(len(own)), own)) for step in timesteps]


def in_words(intervals: Sequence[Interval]) -> str:
    """For example `549 to 999`."""
    return " and ".join(f"{first} to {last}" for first, last in intervals)
