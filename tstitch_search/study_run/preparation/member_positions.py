"""Where the members of a study lie among each other: measured once per run folder, for the search's model."""

from collections.abc import Sequence
from math import sqrt
from statistics import fmean

import numpy as np

from tstitch_search.config import Study
from tstitch_search.errors import MeasurementError
from tstitch_search.measurement import Chunk, Probe, Similarity
from tstitch_search.search.embedding import Positions
from tstitch_search.search.positions import positions_of
from tstitch_search.search_space import SearchSpace
from tstitch_search.study_run.workbench import Workbench

# Images whose trajectories tell how alike the members are.
PROBE_IMAGES = 16


def member_positions(bench: Workbench, study: Study, space: SearchSpace) -> Positions | None:
    """Where the members lie among each other, from a probe of their predictions; None where their order says enough.

    It does where all allocations follow one order, and has to where members cannot be probed: past measurements, and
    members whose answers depend on their earlier ones.
    """
    if len(space.orders) == 1 or len(space.denoisers) < 3 or study.config.search.sampler != "known_latency":
        return None
    event = bench.ledger.last("similarity")
    if event is None:
        job = Probe(
            space.largest, space.denoisers, Chunk("search", 0, min(PROBE_IMAGES, study.config.quality.n_images))
        )
        try:
            answer = bench.alone(job)
        except MeasurementError:
            return None
        assert isinstance(answer, Similarity)
        event = bench.ledger.append(
            "similarity", n_images=answer.n_images, distances=_distances(answer, space.denoisers)
        )
    return positions_of(space.denoisers, np.array(event["distances"]))


def _distances(similarity: Similarity, names: Sequence[str]) -> list[list[float]]:
    """Root mean square distance over the steps between predictions brought to length 1, in [0, 2], of each pair."""
    cosines = {frozenset((p.first, p.second)): p.mean for p in similarity.pairs}
    squares = [[2 - 2 * fmean(cosines[frozenset((a, b))]) if a != b else 0.0 for b in names] for a in names]
    return [[round(sqrt(max(square, 0.0)), 6) for square in row] for row in squares]
