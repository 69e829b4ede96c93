"""Asking every member along one trajectory, which goes its way as if nobody else were asked."""

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import torch

from tstitch_search.allocation import Allocation
from tstitch_search.errors import MeasurementError
from tstitch_search.measurement import Chunk, Probe
from tstitch_search.sampling.stitching.prefixes import Answerer, Path
from tstitch_search.sampling.stitching.stitched_denoiser import StitchedDenoiser

# Samples these images with the allocation, letting the answerer answer.
Sample = Callable[[Allocation, Chunk, Answerer], object]


class StepProbe(Protocol):
    """Answers the calls of one device batch, and keeps what it wants to know of the members."""

    def on_step(self, n_done: int) -> None:
        """So many sampling steps are done."""
        ...

    def answer(self, path: Path, ask: Callable[[str], Any]) -> Any:
        """The answer of the member whose turn it is, the last of `path`."""
        ...


A = TypeVar("A", bound=StepProbe)


def probe_along(
    job: Probe, denoiser: StitchedDenoiser, sample: Sample, batch_size: int, probe: Callable[[int], A]
) -> list[A]:
    """The probes, made by `probe(n_images)`, of the job's device batches, once their trajectories are over.

    Raises MeasurementError when a member goes by its own earlier calls, which questions in between would disturb.
    """
    if not denoiser.can_replay(Allocation.of((name, 1) for name in job.denoisers)):
        raise MeasurementError("a denoiser that goes by its own earlier calls cannot be asked out of turn")
    probes = []
    for part in job.images.parts(batch_size):
        probe_part = probe(part.n_images)
        denoiser.on_step = probe_part.on_step
        try:
            sample(job.along, part, probe_part.answer)
        finally:
            denoiser.on_step = None
        probes.append(probe_part)
    return probes


def answers_of_all(names: tuple[str, ...], path: Path, ask: Callable[[str], Any]) -> dict[str, Any]:
    """What each of `names` answers to the present question, and the one whose turn it is."""
    return {name: ask(name) for name in dict.fromkeys([*names, path[-1]])}


def prediction_in(output: Any, n_channels: int) -> torch.Tensor:
    """The prediction (n, c, ...) in a member's output, without the variance that some members predict beside it."""
    prediction: torch.Tensor = output[0]
    return prediction[:, :n_channels] if prediction.shape[1] == 2 * n_channels else prediction
