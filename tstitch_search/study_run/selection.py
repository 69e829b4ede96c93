"""From the search to the confirmation: what its model thinks of every allocation, kept in the ledger for the report;
and which are worth confirming: the front as that model sees it, thinned evenly over time.
"""

from collections.abc import Collection
from dataclasses import replace
from math import inf, log

from tstitch_search.allocation import Allocation
from tstitch_search.config.models import ConfirmConfig, FocusConfig
from tstitch_search.latency_model import LatencyModel
from tstitch_search.ledger import Ledger
from tstitch_search.pareto import pareto_front
from tstitch_search.search import AllocationStudy
from tstitch_search.search.gaussian_process import fit
from tstitch_search.search.posterior import Told, observations
from tstitch_search.search_space import SearchSpace
from tstitch_search.study_run.evaluation import Estimates

MOST = 1000  # allocations to keep, evenly over time: more could not be told apart in a plot


def posterior_estimates(estimates: Estimates, trials: AllocationStudy) -> Estimates:
    """What the model of the whole landscape thinks of every candidate, measured or not, but for those that failed.

    What the search saw of one allocation is partly luck; the mean of the Gaussian process, informed by the neighbours,
    is less so. And between the allocations that were measured there may be better ones to confirm. Few estimates, and
    those of a sampler without that model, are returned as they are.
    """
    if not trials.has_model:
        return estimates
    scale = trials.scale
    told = [Told(a, 0.0, e.value, e.se) for a, e in estimates.items()]
    candidates = trials.candidates if any(t.quality <= 0 for t in told) else trials.candidates_given(told)
    if len(told) <= len(candidates.baselines) or (scale.relative and any(t.quality <= 0 for t in told)):
        return estimates
    process = fit(observations(candidates, told, scale))
    known = list(dict.fromkeys([*estimates, *(a for a in candidates.allocations if a not in trials.failed)]))
    mean, sd = process.posterior(candidates.at(known))
    values = [scale.value(float(m), float(s)) for m, s in zip(mean, sd, strict=True)]
    at = estimates[trials.anchor]
    anchor, _ = values[known.index(trials.anchor)]
    return {
        a: replace(at, value=value, se=se, difference=value - anchor, difference_se=0.0 if a == trials.anchor else se)
        for a, (value, se) in zip(known, values, strict=True)
    }


def record_posterior(
    ledger: Ledger, posterior: Estimates, measured: Collection[Allocation], latency: LatencyModel
) -> None:
    """Append the event `posterior` unless the newest one says the same; nothing when every estimate was measured.

    `rows`: allocation, predicted seconds, mean and standard deviation, in six digits, at `n_images`.
    """
    unmeasured = sorted((a for a in posterior if a not in measured), key=lambda a: (latency.latency_s(a), a))
    kept = unmeasured[:: -(-len(unmeasured) // MOST)] if unmeasured else []
    rows = [[str(a), *map(_short, (latency.latency_s(a), posterior[a].value, posterior[a].se))] for a in kept]
    before = ledger.last("posterior")
    if rows and (before is None or before["rows"] != rows):
        ledger.append("posterior", n_images=posterior[kept[0]].n_images, rows=rows)


def _short(value: float) -> float:
    return float(f"{value:.6g}")


def select_for_confirmation(
    estimates: Estimates,
    latency: LatencyModel,
    space: SearchSpace,
    confirm: ConfirmConfig,
    focus: FocusConfig,
) -> list[Allocation]:
    """The anchor, the denoisers alone and, up to `max_entries`, the front of (predicted time, quality) over log time.

    The space's baselines too, on the front or not, as long as they leave half of the entries to it. The anchor,
    which `estimates` must hold, is always among them: every other entry is held against it.
    """
    limit = inf if focus.max_fid_loss is None else focus.max_fid_loss
    in_focus = [a for a in estimates if estimates[a].relative_loss <= limit]
    front = [in_focus[i] for i in pareto_front([(latency.latency_s(a), estimates[a].loss) for a in in_focus])]
    alone = map(space.single, reversed(space.denoisers))
    singles = [a for a in dict.fromkeys([space.anchor, *alone]) if a in in_focus]
    baselines = [a for a in space.baseline_names if a in in_focus and a not in singles]
    reserved = max(len(singles), confirm.max_entries // 2)
    chosen = [*singles, *baselines][: min(reserved, confirm.max_entries)]
    rest = [a for a in front if a not in chosen]
    while rest and len(chosen) < confirm.max_entries:
        farthest = max(rest, key=lambda a: min(abs(log(latency.latency_s(a) / latency.latency_s(b))) for b in chosen))
        chosen.append(farthest)
        rest.remove(farthest)
    return sorted(chosen, key=latency.latency_s)
