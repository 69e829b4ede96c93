"""The default sampler: time is known from the calibration, so only quality is learnt.

Every question is answered by looking at the whole finite set: the unasked candidate with the highest expected
hypervolume improvement, without a random number. Stock samplers model time as if it were unknown, draw what was asked
before, and treat all answers as equally exact.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from tstitch_search.allocation import Allocation
from tstitch_search.search.encoding import Encoding, Params
from tstitch_search.search.posterior import Candidates, History, Posterior, QualityScale, Told, posterior, spread_out


@dataclass(frozen=True)
class Decision:
    """An answer and, when it rests on a prediction, that prediction: the metric in its unit, EHVI in seconds x y."""

    allocation: Allocation
    quality: float | None = None
    quality_sd: float | None = None
    ehvi: float | None = None

    def attributes(self, objective: str) -> dict[str, float]:
        """What a person reading the trial wants to know about it."""
        predicted = f"predicted_{objective}"
        named = {predicted: self.quality, f"{predicted}_sd": self.quality_sd, "ehvi": self.ehvi}
        return {name: value for name, value in named.items() if value is not None}


class AllocationSampler(BaseSampler):
    """Proposes the unasked candidate with the highest expected hypervolume improvement; baselines first, in order.

    `per_second`: the improvement is divided by the candidate's time, to which what it costs to measure is
    proportional. That is right when seconds are what runs out; when the number of trials is, the gain itself counts.
    `decision` is the latest answer. Raises ValueError when no candidate is left.
    """

    def __init__(
        self, candidates: Candidates, encoding: Encoding, objective: str, scale: QualityScale, per_second: bool = False
    ):
        self._candidates, self._encoding = candidates, encoding
        self._objective, self._scale, self._per_second = objective, scale, per_second
        self.decision: Decision | None = None

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._encoding.distributions

    def sample_relative(self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]) -> Params:
        before = (t for t in study.get_trials(deepcopy=False) if t.number != trial.number)
        self.decision = self._decide(history_of(before, self._encoding, self._objective))
        return self._encoding.encode(self.decision.allocation)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        raise ValueError(f"{param_name!r} is no parameter of this search space")

    def _decide(self, history: History) -> Decision:
        if not self._candidates.unasked(history).any():
            raise ValueError("every candidate was asked")
        if baseline := next((a for a in self._candidates.baselines if a not in history.asked), None):
            return Decision(baseline)
        expected = posterior(self._candidates, history, self._scale)
        if expected is None or not expected.ehvi.any():
            return Decision(self._candidates.allocations[next(spread_out(self._candidates, history))])
        return self._best(expected)

    def _best(self, expected: Posterior) -> Decision:
        cost = self._candidates.latency_s if self._per_second else 1.0
        best = int(np.argmax(expected.ehvi / cost))
        quality, sd = self._scale.value(float(expected.mean[best]), float(expected.sd[best]))
        return Decision(self._candidates.allocations[best], quality, sd, float(expected.ehvi[best]))


def history_of(trials: Iterable[FrozenTrial], encoding: Encoding, objective: str) -> History:
    """What an Optuna study says was asked and answered; proposals that were dismissed were not asked."""
    told, under_way, failed, names = [], [], [], encoding.distributions.keys()
    for t in trials:
        if t.params.keys() != names or "dismissed" in t.user_attrs:
            continue
        allocation = encoding.decode(t.params)
        match t.state:
            case TrialState.COMPLETE:
                latency_s, quality = t.values
                told.append(Told(allocation, latency_s, quality, t.user_attrs[f"{objective}_se"]))
            case TrialState.RUNNING:
                under_way.append(allocation)
            case _:
                failed.append(allocation)
    return History(tuple(told), tuple(under_way), tuple(failed))
