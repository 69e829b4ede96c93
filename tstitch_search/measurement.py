"""What is asked of a worker and what it answers: small values with units in their names.

A worker does one `Job` at a time. Images are made in chunks of a proxy set (`MakeChunk`), times are taken alone
(`Calibrate`, `TimeAllocations`). Everything here can be pickled and imports neither torch nor ray. A long file, since
it is the list of all that can be asked.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from statistics import median
from typing import Any, Literal, TypeAlias

import numpy as np

from tstitch_search.allocation import Allocation
from tstitch_search.kept_images import KeptImages
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

    def parts(self, size: int) -> list["Chunk"]:
        """Its images in runs of `size`; the last one may be smaller."""
        return [Chunk(self.set_name, i, min(i + size, self.last)) for i in range(self.first, self.last, size)]


def chunks_of(set_name: SetName, n_images: int, chunk_size: int) -> list[Chunk]:
    """The consecutive chunks that make up images 0..n_images-1; the last one may be smaller."""
    return Chunk(set_name, 0, n_images).parts(chunk_size)


@dataclass(frozen=True)
class MakeChunk:
    """Sample the chunk's images with the allocation and answer `ChunkFeatures`.

    `against`: the anchor's images of the same seeds, for metrics of pairs; `is_anchor`: these are the anchor's, to be
    answered with them.
    """

    allocation: Allocation
    chunk: Chunk
    against: KeptImages | None = field(default=None, compare=False)
    is_anchor: bool = field(default=False, compare=False)


@dataclass(frozen=True)
class Calls:
    """Calls of each denoiser for a device batch: `made`, and `reused` from a trajectory that began alike."""

    made: Counter[str] = field(default_factory=Counter)
    reused: Counter[str] = field(default_factory=Counter)

    @property
    def n_reused(self) -> int:
        """Calls that were not made."""
        return self.reused.total()

    @property
    def n_all(self) -> int:
        """Calls that would have been made without reuse."""
        return self.made.total() + self.reused.total()

    def share_saved(self, step_s: Mapping[str, float]) -> float:
        """Part of the denoisers' time that was not needed, with seconds of one step of each; 0 without any call."""
        made_s, reused_s = (sum(n * step_s[name] for name, n in c.items()) for c in (self.made, self.reused))
        return reused_s / (made_s + reused_s) if made_s + reused_s else 0.0


@dataclass(frozen=True)
class EncodedOnce:
    """What reading prompts that were encoded before saved: seconds, and MB of text encoders that need not stay."""

    saved_s: float
    freed_mb: float


@dataclass(frozen=True)
class ChunkFeatures:
    """What is kept of a chunk's images, in index order, and what making them took: seconds and denoiser calls.

    `arrays`: "features" (n_images, d), and where a metric needs them "logits" (n_images, c) or values
    (n_images,) by a metric's name, all float32. `images` (n_images, h, w, 3) uint8, of an anchor that pairs need. Past
    measurements know no `calls`. `prompts`: None where they are not kept.
    """

    arrays: Mapping[str, np.ndarray]
    seconds: float
    calls: Calls = field(default_factory=Calls)
    images: np.ndarray | None = None
    prompts: EncodedOnce | None = None


@dataclass(frozen=True)
class Calibrate:
    """Time every denoiser's step and the fixed part; answers `Calibration`.

    `is_more`: further rounds of a job before, whose worker is warm; they neither warm up nor measure memory.
    """

    denoisers: tuple[str, ...]
    n_steps: int
    n_repeats: int
    is_more: bool = False


@dataclass(frozen=True)
class Calibration:
    """Seconds on one device for one batch: per step of each denoiser, per segment of it, and outside the steps.

    `switch_s[name]` is what beginning a segment of a denoiser takes beyond a step of it. All are medians over repeats,
    `*_se` their standard errors; `spread` says how much repeats of a step differ (interquartile range over median).
    `member_memory_mb` is what a pipeline with that member alone needs, `peak_memory_mb` with all of them;
    `weights_mb` the size of the members' weights on disk. MB are 10^6 bytes, 0 where they are not known. `weights_of`
    says of a member that shares the weights of another whose they are: together they count once. Its own `weights_mb`
    are those and its LoRAs. `places`: of denoisers that go by their earlier calls, how long the first, second, ... step
    of a turn takes, with `step_s` as 1; from the second on they are 1 in the mean. `calls`: by number of steps and
    sampling profile (`4@lightning`), how often its solver asks in each step, with the pipeline's own as 1 in the mean.
    `first_batch_s`: the first batch that each denoiser made alone, compiling included.
    """

    step_s: dict[str, float]
    step_se: dict[str, float]
    switch_s: dict[str, float]
    switch_se: dict[str, float]
    fixed_s: float
    fixed_se: float
    spread: float
    peak_memory_mb: float
    member_memory_mb: dict[str, float]
    weights_mb: dict[str, float]
    device: str
    batch_size: int
    n_repeats: int
    weights_of: dict[str, str] = field(default_factory=dict)
    places: dict[str, list[float]] = field(default_factory=dict)
    calls: dict[str, list[float]] = field(default_factory=dict)
    first_batch_s: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of_event(cls, event: Mapping[str, Any]) -> "Calibration":
        """What a `calibration` event of a ledger says; an earlier version did not write all of it."""
        return cls(**{f.name: event[f.name] for f in fields(cls) if f.name in event})


# What earlier versions did not write of a calibration.
NEWER_OF_CALIBRATION: Mapping[str, dict[str, Any]] = {"weights_of": {}, "places": {}, "calls": {}, "first_batch_s": {}}


def together_mb(names: Iterable[str], mb: Mapping[str, float], weights_of: Mapping[str, str]) -> float:
    """MB of the members `names` together: weights that several share once, and what each has beside them (LoRAs)."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(weights_of.get(name, name), []).append(name)
    shared = {holder: min(mb[name] for name in mb if weights_of.get(name, name) == holder) for holder in groups}
    return sum(shared[h] + sum(mb[name] - shared[h] for name in members) for h, members in groups.items())


@dataclass(frozen=True)
class TimeAllocations:
    """Time whole batches end to end, from noise to decoded images; answers `AllocationTimes`.

    Repeats are interleaved over the allocations and the single denoisers, so that a drift of the device hits all alike
    and each repeat of an allocation comes with the prediction of its own minute. `is_more` as in `Calibrate`; the
    steps are not told again either.
    """

    allocations: tuple[Allocation, ...]
    n_repeats: int
    is_more: bool = False


@dataclass(frozen=True)
class Step:
    """The start of a sampling step: the members' time input, and the noise's standard deviation over the signal's.

    That `sigma` is None for a solver that has neither sigmas nor a variance-preserving schedule.
    """

    timestep: float
    sigma: float | None


@dataclass(frozen=True)
class AllocationTime:
    """Seconds of each timed repeat of one batch, what that repeat's own steps predict, and the memory it needs.

    0 MB: not known. `timesteps`, `sigmas`: where each of its steps begins, as its scheduler had it; empty: not known.
    """

    seconds: tuple[float, ...]
    predicted_s: tuple[float, ...]
    peak_memory_mb: float
    timesteps: tuple[float, ...] = ()
    sigmas: tuple[float, ...] = ()

    @property
    def latency_s(self) -> float:
        """The median repeat."""
        return median(self.seconds)

    @property
    def prediction_error(self) -> float:
        """By which share it takes longer than predicted: the median over repeats, so that drift cancels."""
        return median(s / p for s, p in zip(self.seconds, self.predicted_s, strict=True)) - 1

    @property
    def latency_s_predicted(self) -> float:
        """The prediction at the speed that the machine had in the median repeat."""
        return self.latency_s / (1 + self.prediction_error)


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
    """torch-fidelity's own value of a metric for a stored array (n, ...), a record's our own; answers a float.

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


@dataclass(frozen=True)
class Probe:
    """Ask every one of `denoisers` at each step of the trajectories that `along` makes.

    Answers how alike their predictions are (`Similarity`), or what those are made of (`Frequencies`).
    """

    along: Allocation
    denoisers: tuple[str, ...]
    images: Chunk
    wants: Literal["similarity", "frequencies"] = "similarity"


@dataclass(frozen=True)
class PairSimilarity:
    """Cosine similarity of two denoisers' predictions per step, in [-1, 1]: mean and standard deviation over images."""

    first: str
    second: str
    mean: tuple[float, ...]
    sd: tuple[float, ...]


@dataclass(frozen=True)
class Similarity:
    """Every pair of a probe's denoisers, in their order, along the trajectories of `n_images` images."""

    pairs: tuple[PairSimilarity, ...]
    n_images: int

    def between(self, a: str, b: str) -> PairSimilarity:
        """The pair of these two, whichever comes first."""
        return next(pair for pair in self.pairs if {pair.first, pair.second} == {a, b})


@dataclass(frozen=True)
class Spectrum:
    """Energy of what a denoiser predicts, by spatial frequency: `mean[step][band]` and `sd`, over images.

    `of`: the clean latents or the noise that its prediction stands for. Energy is the mean square of a latent value; a
    step's bands add up to all of it. Bands are equally wide and end at the highest frequency of a row; the last one
    holds the corners beyond.
    """

    denoiser: str
    of: Literal["clean", "noise"]
    mean: tuple[tuple[float, ...], ...]
    sd: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Frequencies:
    """The spectra of a probe's denoisers along the trajectories of `n_images` images."""

    spectra: tuple[Spectrum, ...]
    n_images: int


Job: TypeAlias = (
    MakeChunk | Calibrate | TimeAllocations | MakeImages | Publish | DescribeFeatures | ExtractReference | Probe
)
Answer: TypeAlias = (
    ChunkFeatures | Calibration | AllocationTimes | np.ndarray | float | FeatureFacts | Similarity | Frequencies
)


def allocations_of(job: Job) -> tuple[Allocation, ...]:
    """The allocations that a job makes batches of."""
    match job:
        case Calibrate(denoisers, n_steps):
            return tuple(Allocation.of([(name, n_steps)]) for name in denoisers)
        case TimeAllocations(allocations):
            return allocations
        case MakeChunk(allocation) | MakeImages(allocation):
            return (allocation,)
        case Probe(along):
            return (along,)
        case Publish() | DescribeFeatures() | ExtractReference():
            return ()


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
