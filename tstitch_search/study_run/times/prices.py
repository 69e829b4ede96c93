"""What a study will take, before it takes it: device seconds per stage and disk, from the latency model."""

from collections.abc import Sequence
from dataclasses import dataclass

from tstitch_search.allocation import Allocation
from tstitch_search.config import Study
from tstitch_search.latency_model import LatencyModel
from tstitch_search.search_space import SearchSpace

# Bytes of one feature value on disk (float32).
FEATURE_BYTES = 4
# Warming up and measuring memory take about as long as this many timed rounds.
EXTRA_ROUNDS = 4
# What a race takes beside its controls, rounded up from 15 to 21 allocations and about 1.5 chunks each on the embedded
# family (benchmarks/results/search_cost.md).
TYPICAL_RACE = 25
TYPICAL_CHUNKS = 2


@dataclass(frozen=True)
class Price:
    """Device seconds by stage, images to make, and the size of their features on disk in MB (dimension d)."""

    n_trials: int
    n_images: int
    stages: dict[str, float]

    @property
    def device_seconds(self) -> float:
        """All stages together."""
        return sum(self.stages.values())

    def disk_mb(self, feature_dim: int) -> float:
        """Feature files of `feature_dim` values per image."""
        return self.n_images * feature_dim * FEATURE_BYTES / 1e6


def price(study: Study, space: SearchSpace, candidates: Sequence[Allocation], latency: LatencyModel) -> Price:
    """The price of a study that measures its baselines and otherwise average allocations."""
    c = study.config
    batch_size = latency.calibration.batch_size
    n_trials = min(c.search.n_trials or len(candidates), len(candidates))
    n_entries = min(c.confirm.max_entries, n_trials)
    mean_s = sum(map(latency.latency_s, candidates)) / len(candidates)
    search_images, confirm_images = n_trials * c.quality.n_images, n_entries * c.confirm.n_images
    singles_s = sum(latency.latency_s(space.single(d)) for d in space.denoisers)
    controls = [a for a in space.controls() if a in candidates] if c.control_level else []
    if c.races:
        n_trials = min(n_trials, len(controls) + TYPICAL_RACE)
        search_images = (n_trials - len(controls)) * min(TYPICAL_CHUNKS * c.proxy_set.chunk_size, c.quality.n_images)
    elif c.control_level:
        search_images -= len(controls) * c.quality.n_images
    control_images = c.control_level or 0
    search_s = mean_s * search_images + sum(map(latency.latency_s, controls)) * control_images
    search_images += len(controls) * control_images
    round_s = singles_s + mean_s  # each alone, and taking turns
    parts_s = round_s * (c.latency.n_repeats + EXTRA_ROUNDS)
    stages = {
        "calibrate": parts_s,
        "search": min(search_s / batch_size, c.search.device_seconds or search_s / batch_size),
        "confirm": mean_s * confirm_images / batch_size,
        "time": parts_s + mean_s * n_entries * (c.latency.n_repeats + 1),
    }
    return Price(n_trials, search_images + confirm_images, stages)


def seconds_of(latency: LatencyModel, allocation: Allocation, n_images: int) -> float:
    """Device seconds to make `n_images` with the allocation."""
    return latency.latency_s(allocation) * n_images / latency.calibration.batch_size
