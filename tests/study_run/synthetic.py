"""A measurer without a model: Gaussian features whose distance to the reference is known, and exact step times."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from tstitch_search.allocation import Allocation
from tstitch_search.errors import MeasurementError
from tstitch_search.measure.datasets import batches_of, count_images
from tstitch_search.measure.published import publish
from tstitch_search.measurement import (
    AllocationTime,
    AllocationTimes,
    Answer,
    Calibrate,
    Calibration,
    ChunkFeatures,
    DescribeFeatures,
    ExtractReference,
    FeatureFacts,
    Job,
    MakeChunk,
    MakeImages,
    Publish,
    TimeAllocations,
)
from tstitch_search.quality.reference import Reference
from tstitch_search.real_images import RealImages

STEP_S = {"S": 0.1, "B": 0.3, "XL": 1.0}
FIXED_S = 0.2
WEAKNESS = {"S": 1.0, "B": 0.4, "XL": 0.1}


def latency_s(allocation: Allocation, step_s: Mapping[str, float] = STEP_S) -> float:
    """The true time: what the latency model must reproduce."""
    return FIXED_S + sum(n * step_s[name] for name, n in allocation.steps.items())


def calibration(n_repeats: int = 5, step_s: Mapping[str, float] = STEP_S) -> Calibration:
    """The true parts of that time: a switch takes none."""
    none = dict.fromkeys(STEP_S, 0.0)
    return Calibration(
        step_s=dict(step_s),
        step_se=none,
        switch_s=none,
        switch_se=none,
        fixed_s=FIXED_S,
        fixed_se=0.0,
        spread=0.0,
        peak_memory_mb=100.0,
        member_memory_mb=dict.fromkeys(STEP_S, 50.0),
        weights_mb=dict.fromkeys(STEP_S, 10.0),
        device="synthetic",
        batch_size=2,
        n_repeats=n_repeats,
    )


def shift(allocation: Allocation) -> float:
    """How far the mean of the features lies from the reference; late steps count more."""
    weights = np.arange(1, allocation.n_steps + 1) / sum(range(1, allocation.n_steps + 1))
    return float(weights @ [WEAKNESS[name] for name in allocation.by_step])


@dataclass
class SyntheticMeasurer:
    """Image i of a set has the same noise under every allocation. Allocations in `broken` cannot be measured.

    Those in `not_finite` give features that are no numbers.
    `step_s` is what its device takes, `decay` what it does to every image's features, `own_noise` how much noise (as a
    share of the common one) each allocation has for itself.
    """

    reference: Reference
    broken: frozenset[str] = frozenset()
    not_finite: frozenset[str] = frozenset()
    interrupt_after: int | None = None
    device: str = "synthetic"
    step_s: Mapping[str, float] = field(default_factory=lambda: dict(STEP_S))
    decay: float = 0.0
    own_noise: float = 0.0
    made: list[MakeChunk] = field(default_factory=list)
    extracted: list[int] = field(default_factory=list)

    def load(self) -> dict[str, float]:
        return dict.fromkeys(STEP_S, 0.0)

    def do(self, job: Job) -> Answer:
        match job:
            case MakeChunk():
                return self._make(job)
            case MakeImages(_, chunk):
                return np.zeros((chunk.n_images, 32, 32, 3), dtype=np.uint8)
            case Publish(metric, array, mu, sigma, real):
                given = mu is not None and sigma is not None
                return publish(metric, array, Reference(mu, sigma, None, real, sha256="") if given else None)
            case DescribeFeatures(images):
                return FeatureFacts(len(self.reference.mu), count_images(images) if images else 0)
            case ExtractReference(images, first):
                return self._extract(images, first)
            case Calibrate(n_repeats=n):
                return replace(calibration(n, self.step_s), device=self.device)
            case TimeAllocations(allocations, n):
                times = [(latency_s(a, self.step_s),) * n for a in allocations]
                return AllocationTimes(tuple(AllocationTime(seconds, seconds, 100.0) for seconds in times))

    def _extract(self, images: RealImages, first: int) -> np.ndarray:
        """The first pixels of each image."""
        if self.interrupt_after is not None and len(self.extracted) >= self.interrupt_after:
            raise KeyboardInterrupt
        self.extracted.append(first)
        d = len(self.reference.mu)
        pixels = [batch.reshape(len(batch), -1)[:, :d] for batch in batches_of(images, 7)]
        return np.concatenate(pixels).astype(np.float32)

    def _make(self, job: MakeChunk) -> ChunkFeatures:
        if self.interrupt_after is not None and len(self.made) >= self.interrupt_after:
            raise KeyboardInterrupt
        if str(job.allocation) in self.broken:
            raise MeasurementError(f"{job.allocation} gives images that are not finite")
        self.made.append(job)
        d = len(self.reference.mu)
        seeds = [(i, job.chunk.set_name == "confirm") for i in range(job.chunk.first, job.chunk.last)]
        noise = np.array([np.random.default_rng(seed).normal(size=d) for seed in seeds])
        if self.own_noise:
            name = [ord(letter) for letter in str(job.allocation)]
            noise += self.own_noise * np.array([np.random.default_rng([*seed, *name]).normal(size=d) for seed in seeds])
        values = self.reference.mu + noise * np.sqrt(np.diag(self.reference.sigma)) + shift(job.allocation) + self.decay
        if str(job.allocation) in self.not_finite:
            values[0] = np.nan
        return ChunkFeatures({"features": values.astype(np.float32)}, seconds=latency_s(job.allocation))
