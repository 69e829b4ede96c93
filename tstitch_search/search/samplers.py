"""Optuna's own samplers, by their names in `search.sampler`, and one that is given its answer."""

import warnings
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, PartialFixedSampler, RandomSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from tstitch_search.search.encoding import BASELINE, REGULAR, Params
from tstitch_search.search.rule import SamplerName


def stock_sampler(name: SamplerName, seed: int, question: int, *, holds_all: bool) -> BaseSampler:
    """The sampler of one question, which depends on nothing but the study's seed and the number of the question.

    Unless grid and orders hold all baselines (`holds_all`), the others are asked first, and are not for it to propose.
    """
    sampler = _sampler(name, (seed * 1_000_003 + question) % 2**32)
    if holds_all:
        return sampler
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # so is this one
        return PartialFixedSampler({BASELINE: REGULAR}, sampler)


def _sampler(name: SamplerName, seed: int) -> BaseSampler:
    match name:
        case "tpe":
            return TPESampler(seed=seed)
        case "nsga2":
            return NSGAIISampler(seed=seed, population_size=12)
        case "gp":
            return GPSampler(seed=seed)
        case _:  # an enumeration draws from it only what it repeats
            return RandomSampler(seed=seed)


class FixedSampler(BaseSampler):
    """Proposes `params`, which must hold every parameter; `sampler` keeps its books as if the answer were its own.

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
