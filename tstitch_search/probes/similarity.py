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

from tstitch_search.measurement import PairSimilarity, Probe, Similarity
from tstitch_search.probes.along_trajectory import Sample, answers_of_all, prediction_in, probe_along
from tstitch_search.sampling.stitching.prefixes import Path
from tstitch_search.sampling.stitching.stitched_denoiser import StitchedDenoiser


def similarity(job: Probe, denoiser: StitchedDenoiser, sample: Sample, batch_size: int) -> Similarity:
    """The cosine similarity of each pair of the job's denoisers, per step over its images.

    Raises MeasurementError when a member goes by its own earlier calls, which questions in between would disturb.
    """
    n_channels = denoiser.config.in_channels
    asked = probe_along(job, denoiser, sample, batch_size, lambda n_images: _Cosines(job, n_channels, n_images))
    cosines = np.concatenate([probe.cosines for probe in asked], axis=2)
    pairs = combinations(job.denoisers, 2)
    return Similarity(tuple(_pair(a, b, cosines[:, i]) for i, (a, b) in enumerate(pairs)), n_images=job.images.n_images)


class _Cosines:
    """Compares all denoisers at every call. `cosines` (n_steps, n_pairs, n_images): means over a step's calls."""

    def __init__(self, job: Probe, n_channels: int, n_images: int):
        n_pairs = len(list(combinations(job.denoisers, 2)))
        self._names, self._n_channels = job.denoisers, n_channels
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
        outputs = answers_of_all(self._names, path, ask)
        directions = [prediction_in(outputs[n], self._n_channels).flatten(1).double() for n in self._names]
        for i, (a, b) in enumerate(combinations(directions, 2)):
            cosines = torch.nn.functional.cosine_similarity(a, b).cpu().numpy()
            self._sums[self._step, i] += cosines.reshape(-1, self._sums.shape[2]).mean(axis=0)  # guidance has two rows
        self._n_calls[self._step] += 1
        return outputs[path[-1]]


def _pair(first: str, second: str, cosines: np.ndarray) -> PairSimilarity:
    """From cosines (n_steps, n_images)."""
    sd = cosines.std(axis=1, ddof=1) if cosines.shape[1] > 1 else np.zeros(len(cosines))
    return PairSimilarity(first, second, tuple(map(float, cosines.mean(axis=1))), tuple(map(float, sd)))
