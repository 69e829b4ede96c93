"""Candidates of a space too large to be enumerated: a covering sample, and what is next to the front that is believed.

The model of what was told sees a front among the sample and the measured allocations. Moves from there, twice, are
candidates too. A pure function of what was told: after a crash the same candidates come again.
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from tstitch_search.allocation import Allocation
from tstitch_search.pareto import pareto_front
from tstitch_search.search.gaussian_process import fit
from tstitch_search.search.posterior import Candidates, QualityScale, Told, observations

# So often the front is looked for again among its neighbours, from so many of its allocations, evenly over time.
ROUNDS, MOST = 2, 24


def near_front(
    base: Candidates,
    told: Sequence[Told],
    scale: QualityScale,
    moves: Callable[[Allocation], Iterable[Allocation]],
) -> Candidates:
    """`base` and the allocations next to the front that is believed, given what was `told`; `base` alone without it."""
    if len(told) <= len(base.baselines):
        return base
    process = fit(observations(base, told, scale))
    known = base.with_more([t.allocation for t in told])
    mean = process.mean(known.x)
    for _ in range(ROUNDS):
        front = pareto_front(list(zip(known.latency_s.tolist(), mean.tolist(), strict=True)))
        picked = {front[i] for i in np.linspace(0, len(front) - 1, min(MOST, len(front))).round().astype(int)}
        more = known.with_more([m for i in sorted(picked) for m in moves(known.allocations[i])])
        mean = np.append(mean, process.mean(more.x[len(mean) :]))
        known = more
    return known
