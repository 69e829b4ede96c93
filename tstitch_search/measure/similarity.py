"""How alike the members' predictions are, step by step along one trajectory (T-Stitch, figure 3).

Stitching rests on it: members that point into the same direction can take over from each other. It costs K denoiser
calls per step and no decoding is looked at. All members answer the questions of one trajectory, so that only their
predictions differ, not the latents that they are asked about.
"""

from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
import torch

from tstitch_search.allocation import Allocation
from tstitch_search.errors import MeasurementError
from tstitch_search.measure.stitching import StitchedDenoiser
from tstitch_search.measure.trajectory import Answerer, Path
from tstitch_search.measurement import Chunk, PairSimilarity, Probe, Similarity

# Samples these images with the allocation, letting the answerer answer.
Sample = Callable[[Allocation, Chunk, Answerer], object]


def similarity(job: Probe, denoiser: StitchedDenoiser, sample: Sample, batch_size: int) -> Similarity:
    """The cosine similarity of each pair of the job's denoisers, per step over its images.

    Raises MeasurementError when a member goes by its own earlier calls, which questions in between would disturb.
    """
    if not denoiser.can_replay(Allocation.of((name, 1) for name in job.denoisers)):
        raise MeasurementError("a denoiser that goes by its own earlier calls cannot be asked out of turn")
    found = []
    for part in job.images.parts(batch_size):
        questions = _Questions(denoiser, job, part.n_images)
        denoiser.on_step = questions.on_step
        try:
            sample(job.along, part, questions.answer)
        finally:
            denoiser.on_step = None
        found.append(questions.cosines)
    cosines = np.concatenate(found, axis=2)
    pairs = combinations(job.denoisers, 2)
    return Similarity(tuple(_pair(a, b, cosines[:, i]) for i, (a, b) in enumerate(pairs)), n_images=job.images.n_images)


class _Questions:
    """Asks every denoiser whenever one is asked. `cosines` (n_steps, n_pairs, n_images): means over a step's calls."""

    def __init__(self, denoiser: StitchedDenoiser, job: Probe, n_images: int):
        n_pairs = len(list(combinations(job.denoisers, 2)))
        self._names, self._in_channels = job.denoisers, denoiser.config.in_channels
        self._sums = np.zeros((job.along.n_steps, n_pairs, n_images))
        self._n_calls = np.zeros((job.along.n_steps, 1, 1))
        self._step = 0

    @property
    def cosines(self) -> np.ndarray:
        means: np.ndarray = self._sums / self._n_calls
        return means

    def on_step(self, n_done: int) -> None:
        self._step = n_done

    def answer(self, path: Path, ask: Callable[[str], Any]) -> Any:
        outputs = {name: ask(name) for name in dict.fromkeys([*self._names, path[-1]])}
        directions = [self._direction(outputs[name]) for name in self._names]
        for i, (a, b) in enumerate(combinations(directions, 2)):
            cosines = torch.nn.functional.cosine_similarity(a, b).cpu().numpy()
            self._sums[self._step, i] += cosines.reshape(-1, self._sums.shape[2]).mean(axis=0)  # guidance has two rows
        self._n_calls[self._step] += 1
        return outputs[path[-1]]

    def _direction(self, output: Any) -> torch.Tensor:
        """The prediction (n, d) in an output, without the variance that some members predict beside it."""
        prediction: torch.Tensor = output[0]
        if prediction.shape[1] == 2 * self._in_channels:
            prediction = prediction[:, : self._in_channels]
        return prediction.flatten(1).double()


def _pair(first: str, second: str, cosines: np.ndarray) -> PairSimilarity:
    """From cosines (n_steps, n_images)."""
    sd = cosines.std(axis=1, ddof=1) if cosines.shape[1] > 1 else np.zeros(len(cosines))
    return PairSimilarity(first, second, tuple(map(float, cosines.mean(axis=1))), tuple(map(float, sd)))
