"""Which entries are worth confirming: the front as the search sees it, thinned evenly over time."""

from collections.abc import Mapping
from math import inf, log

from tstitch_search.allocation import Allocation
from tstitch_search.config.models import ConfirmConfig, FocusConfig
from tstitch_search.latency_model import LatencyModel
from tstitch_search.pareto import pareto_front
from tstitch_search.quality.estimate import QualityEstimate
from tstitch_search.search_space import SearchSpace


def select_for_confirmation(
    estimates: Mapping[Allocation, QualityEstimate],
    latency: LatencyModel,
    space: SearchSpace,
    confirm: ConfirmConfig,
    focus: FocusConfig,
) -> list[Allocation]:
    """The single denoisers and, up to `max_entries`, the front of (predicted time, quality), spread over log time.

    The anchor, which `estimates` must hold, is always among them: every other entry is held against it.
    """
    limit = inf if focus.max_fid_loss is None else focus.max_fid_loss
    in_focus = [a for a in estimates if estimates[a].relative_loss <= limit]
    front = [in_focus[i] for i in pareto_front([(latency.latency_s(a), estimates[a].loss) for a in in_focus])]
    singles = [a for a in map(space.single, reversed(space.denoisers)) if a in in_focus]
    chosen = singles[: confirm.max_entries]
    rest = [a for a in front if a not in chosen]
    while rest and len(chosen) < confirm.max_entries:
        farthest = max(rest, key=lambda a: min(abs(log(latency.latency_s(a) / latency.latency_s(b))) for b in chosen))
        chosen.append(farthest)
        rest.remove(farthest)
    return sorted(chosen, key=latency.latency_s)
