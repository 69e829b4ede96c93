"""Error bars on images that real denoisers make now: 440 disjoint blocks, pooled over allocations."""

from pathlib import Path

import numpy as np
import pytest

from tstitch_search.allocation import Allocation
from tstitch_search.config import load_study
from tstitch_search.measure.measurer import StudyMeasurer
from tstitch_search.measurement import Chunk, ChunkFeatures, MakeChunk
from tstitch_search.quality.frechet import FrechetDistance
from tstitch_search.quality.jackknife import Jackknifed, jackknifed
from tstitch_search.quality.reference import load_reference

ROOT = Path(__file__).parents[2]
N_BLOCKS, N_IMAGES = 40, 60
Z_90 = 1.6449
# S for the first k of 20 steps, then B: the cheap members of the embedded family.
ALLOCATIONS = [Allocation.of([("S", k), ("B", 20 - k)]) for k in range(0, 21, 2)]


def coverage(found: list[list[Jackknifed]]) -> tuple[float, float]:
    """Share of nominal 90 % intervals that hold the mean of the other blocks, and its error clustered by block."""
    values, errors = (np.array([[getattr(f, key) for f in blocks] for blocks in found]) for key in ("value", "se"))
    others = (values.sum(axis=1, keepdims=True) - values) / (N_BLOCKS - 1)
    by_block = (np.abs(values - others) < Z_90 * errors * np.sqrt(1 + 1 / (N_BLOCKS - 1))).mean(axis=0)
    return float(by_block.mean()), float(by_block.std(ddof=1) / np.sqrt(N_BLOCKS))


@pytest.mark.slow
def test_nominal_90_percent_intervals_cover_at_least_85_percent_and_are_not_empty_caution():
    """Of FID and of paired differences; the jackknife is conservative near the reference, so 100 % is the ceiling."""
    settings = ["workers.device_batch_size=60", "workers.device=cpu"]
    measurer = StudyMeasurer(load_study(ROOT / "studies" / "small_first.yaml", settings), threads=2)
    measurer.load()
    distance = FrechetDistance(load_reference("zoo:fashion", ROOT))

    def blocks(allocation: Allocation) -> list[Jackknifed]:
        found = []
        for first in range(0, N_BLOCKS * N_IMAGES, N_IMAGES):
            answer = measurer.do(MakeChunk(allocation, Chunk("search", first, first + N_IMAGES)))
            assert isinstance(answer, ChunkFeatures)
            found.append(jackknifed(distance, answer.arrays["features"]))
        return found

    measured = {allocation: blocks(allocation) for allocation in ALLOCATIONS}
    anchor = measured[ALLOCATIONS[0]]
    paired = [
        [own.minus(b) for own, b in zip(of, anchor, strict=True)] for a, of in measured.items() if a != ALLOCATIONS[0]
    ]
    for found in (list(measured.values()), paired):
        covered, error = coverage(found)
        assert covered > 0.85 - 2 * error
        sizes = np.array([[f.se for f in of] for of in found]).mean()
        spread = np.array([[f.value for f in of] for of in found]).std(axis=1, ddof=1).mean()
        assert sizes < 2 * spread  # variance at most four times the truth
