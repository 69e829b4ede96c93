"""A sampler that is given its answer. The sampler it stands for keeps its books as if the answer were its own."""

from typing import Any

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from tstitch_search.search.encoding import Params


class FixedSampler(BaseSampler):
    """Proposes `params`, which must hold every parameter.

    Unlike `Study.enqueue_trial` it leaves nothing waiting: the trial and its answer are one step for whoever crashes.
    """

    def __init__(self, params: Params, sampler: BaseSampler):
        self._params, self._sampler = params, sampler

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._sampler.infer_relative_search_space(study, trial)

    def sample_relative(self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]) -> Params:
        self._sampler.sample_relative(study, trial, search_space)  # NSGA-II notes the trial's generation here
        return {name: self._params[name] for name in search_space}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._params[param_name]
