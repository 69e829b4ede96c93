"""What is asked of a worker and what it answers: small values with units in their names.

A worker does one `Job` at a time. Images are made in chunks of a proxy set (`MakeChunk`), times are taken alone
(`Calibrate`, `TimeAllocations`). Everything here can be pickled and imports neither torch nor ray.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from tstitch_search.allocation import Allocation
from tstitch_search.real_images import RealImages

# The two disjoint sets of images: `search` while searching (the proxy set), `confirm` for the final front only.
SetName: TypeAlias = Literal["search", "confirm"]


@dataclass(frozen=True, order=True)
class Chunk:
    """Images first..last-1 of one set: the unit of work together with an allocation."""

    set_name: SetName
    first: int
    last: int

    @property
    def n_images(self) -> int:
        return self.last - self.first


def chunks_of(set_name: SetName, n_images: int, chunk_size: int) -> list[Chunk]:
    """The consecutive chunks that make up images 0..n_images-1; the last one may be smaller."""
    return [Chunk(set_name, i, min(i + chunk_size, n_images)) for i in range(0, n_images, chunk_size)]


@dataclass(frozen=True)
class MakeChunk:
    """Sample the chunk's images with the allocation and answer `ChunkFeatures`."""

    allocation: Allocation
    chunk: Chunk


@dataclass(frozen=True)
class ChunkFeatures:
    """What is kept of a chunk's images, in index order, and the seconds that making them took.

    `arrays`: "features" (n_images, d), and where a metric needs them "logits" (n_images, c) or "clip_score"
    (n_images,), all float32.
    """

    arrays: Mapping[str, np.ndarray]
    seconds: float


@dataclass(frozen=True)
class Calibrate:
    """Time every denoiser's step and the fixed part; answers `Calibration`."""

    denoisers: tuple[str, ...]
    n_steps: int
    n_repeats: int


@dataclass(frozen=True)
class Calibration:
    """Seconds on one device for one batch: per step of each denoiser, and for everything outside the steps.

    `step_s[name]` and `fixed_s` are medians over repeats, `*_se` their standard errors; `peak_memory_mb` is the
    device's (on CPU the process's) peak while one batch is made, members loaded together.
    """

    step_s: dict[str, float]
    step_se: dict[str, float]
    fixed_s: float
    fixed_se: float
    spread: float
    peak_memory_mb: float
    device: str
    batch_size: int
    n_repeats: int


@dataclass(frozen=True)
class TimeAllocations:
    """Time whole batches end to end, from noise to decoded images; answers `AllocationTimes`.

    Repeats are interleaved over the allocations, so that a drift of the device hits all alike.
    """

    allocations: tuple[Allocation, ...]
    n_repeats: int


@dataclass(frozen=True)
class AllocationTime:
    """Seconds of each timed repeat of one batch, and the peak memory meanwhile."""

    seconds: tuple[float, ...]
    peak_memory_mb: float


@dataclass(frozen=True)
class AllocationTimes:
    """One `AllocationTime` per allocation of the job, in its order."""

    times: tuple[AllocationTime, ...]


@dataclass(frozen=True)
class MakeImages:
    """The images of a chunk themselves, for people to look at; answers uint8 (n, h, w, 3)."""

    allocation: Allocation
    chunk: Chunk


@dataclass(frozen=True)
class Publish:
    """torch-fidelity's own value of a metric for a stored array (n, ...); answers a float.

    Of the real images it is given what the metric needs: `mu` (d,) and `sigma` (d, d) of their features, and some of
    the features themselves (m, d).
    """

    metric: str
    array: np.ndarray
    mu: np.ndarray | None = None
    sigma: np.ndarray | None = None
    features: np.ndarray | None = None


@dataclass(frozen=True)
class DescribeFeatures:
    """How long a feature is, and how many images a registered dataset holds; answers `FeatureFacts`."""

    images: RealImages | None


@dataclass(frozen=True)
class FeatureFacts:
    """`n_features` of the study's extractor; `n_images` of the job's real images, 0 without any."""

    n_features: int
    n_images: int


@dataclass(frozen=True)
class ExtractReference:
    """Turn real images into features (n, d) float32; `images` are those of this job only, the first being `first`."""

    images: RealImages
    first: int


Job: TypeAlias = MakeChunk | Calibrate | TimeAllocations | MakeImages | Publish | DescribeFeatures | ExtractReference
Answer: TypeAlias = ChunkFeatures | Calibration | AllocationTimes | np.ndarray | float | FeatureFacts


@dataclass(frozen=True)
class Loaded:
    """What a worker says once it holds the members: who it is and how long each member took to load."""

    worker: str
    device: str
    load_s: dict[str, float]


@dataclass(frozen=True)
class Finished:
    """A job that came back: either `answer`, or `error` (a message a person can act on)."""

    job: Job
    worker: str
    answer: Answer | None = None
    error: str | None = None
